/* Where requests stand: spinsim.engine.state, .engine and .prefill. */
static void remove_from(List *list, i64 id) {
  i64 i = 0;
  while (list->at[i] != id) i++;
  memmove(list->at + i, list->at + i + 1, (--list->rows - i) * sizeof(i64));
}

static void note_load(State *s) { /* Engine.note_load and Load.note */
  Run *r = s->r;
  Pool *pool = r->target_pool;
  i64 waiting = r->arrived - r->ended - s->admitted;
  i64 used = (pool->blocks - pool->free_blocks) * pool->block_tokens;
  i64 values[] = {s->now, s->admitted, waiting, waiting ? 1 + s->is_short : 0, used};
  Table *t = &r->tables[LOADS];
  if (t->rows && ((i64 *)t->column[0])[t->rows - 1] == s->now) t->rows--;
  append(s, LOADS, 5, values);
}

static void wait_for_admission(State *s, i64 id, i64 preempted) { /* heappush(EngineState._waiting, ...) */
  Run *r = s->r;
  Entry entry = {{1, r->arrived_ns[id], 0, id}, 0, id, NULL};
  if (preempted) entry.keys[0] = 0, entry.keys[1] = s->admission[id];
  else if (r->admission == SECOND) entry.keys[1] = r->prompt[id], entry.keys[2] = r->arrived_ns[id];
  push(s, &s->waiting, entry);
}

static void ring_for_prompts(State *s) { /* Engine.ring_for_prompts */
  if (s->bell) { s->bell = 0; schedule(s, s->now, BELL, 0, NULL); }
}

static void admit(State *s) { /* EngineState.admit and Engine.admit */
  Run *r = s->r;
  i64 before = s->admitted;
  s->is_short = 0;
  while (s->waiting.rows && s->admitted < r->batch) {
    i64 id = s->waiting.entries[0].which;
    if (r->place[id] == ENDED) { pop(&s->waiting); continue; }
    i64 blocks = acquire(r->target_pool, least(s->goal[id] + 1 + r->max_length, r->context));
    if (blocks < 0) { s->is_short = 1; break; }
    pop(&s->waiting);
    s->target_held[id] = blocks;
    r->slot[id] = s->n_slots_back ? s->slots_back[--s->n_slots_back] : s->untouched_slots++;
    s->prefilled[id] = 0;
    r->place[id] = PROMPT;
    s->prompts.at[s->prompts.rows++] = id;
    s->admitted++;
    if (s->admission[id] < 0) s->admission[id] = s->admissions++, r->admitted_ns[id] = s->now;
  }
  if (s->admitted > before) ring_for_prompts(s);
  note_load(s);
}

static void release_target(State *s, i64 id) { /* EngineState._release */
  if (s->r->place[id] == ROUND) s->in_rounds--;
  release(s->r->target_pool, s->target_held[id]);
  s->slots_back[s->n_slots_back++] = s->r->slot[id];
  s->r->slot[id] = -1;
  s->admitted--;
}

static void preempt(State *s, i64 id) { /* EngineState.preempt */
  Run *r = s->r;
  if (r->place[id] == PROMPT) remove_from(&s->prompts, id);
  else if (r->place[id] == READY) remove_from(&s->ready, id);
  release_target(s, id);
  r->place[id] = WAITING;
  r->preemptions[id]++;
  s->goal[id] = most(r->prompt[id] + r->generated[id] - 1, r->prompt[id]);
  wait_for_admission(s, id, 1);
}

static void send_next(State *s);

static void close_request(State *s, i64 id, i64 status) { /* Engine._close and EngineState.end */
  Run *r = s->r;
  i64 k = r->drafts;
  if (r->place[id] != WAITING) release_target(s, id);
  r->place[id] = ENDED;
  r->status[id] = status;
  r->finished_ns[id] = s->now;
  for (i64 d = 0; d < k; d++)
    if (!s->background[id * k + d]) drop(s, id, d);
  r->ended++;
  free(s->stats[id]);
  s->stats[id] = NULL;
  if (r->listening || !r->composition) r->forget(id); /* Python has a view of it */
  if (r->ended % r->report_every == 0 || r->ended == r->requests) r->report(r->ended);
  if (r->ended == r->requests) {
    r->ended_ns = s->now;
    schedule(s, s->now, END, 0, NULL);
  } else if (r->clients && status != REJECTED) {
    send_next(s);
  }
}

static void finish(State *s, i64 id, i64 status) { /* Engine.finish */
  close_request(s, id, status);
  admit(s);
}

static int arrive(State *s, i64 id) { /* Engine.arrive */
  Run *r = s->r;
  r->arrived++;
  r->arrived_ns[id] = r->last_arrival_ns = s->now;
  r->place[id] = WAITING;
  s->goal[id] = r->prompt[id];
  if (r->prompt[id] + r->output[id] > r->context) { close_request(s, id, REJECTED); return 0; }
  if (r->patience_ns[id] >= 0) schedule(s, s->now + r->patience_ns[id], PATIENCE, id, NULL);
  wait_for_admission(s, id, 0);
  admit(s);
  return 1;
}

static void send_next(State *s) { /* Engine.send_next */
  while (s->next < s->r->requests && !arrive(s, s->next++)) {}
}

static void lose_patience(State *s, i64 id) { /* Engine._lose_patience, EngineState.give_up */
  if (s->r->place[id] == ENDED) return;
  s->cancelled[id] = s->impatient = 1;
  if (s->r->place[id] == WAITING) { close_request(s, id, CANCELLED); admit(s); }
}

static void arrivals(State *s) { /* processes._arrivals */
  Run *r = s->r;
  if (r->clients) {
    for (i64 n = least(r->clients, r->requests); n > 0; n--) send_next(s);
    return;
  }
  while (s->next < r->requests) {
    if (r->arrival_ns[s->next] > s->now) { schedule(s, r->arrival_ns[s->next], ARRIVAL, 0, NULL); return; }
    arrive(s, s->next++);
  }
}

static i64 depth(State *s) { return s->r->pipeline ? s->r->depth : s->r->ask_depth(); }

static void wake(State *s) { /* Engine.wake */
  if (!s->ready.rows) return;
  for (i64 i = 0; i < s->r->max_depth; i++) {
    if (!s->batches[i].parked) continue;
    if (i < depth(s)) { s->batches[i].parked = 0; schedule(s, s->now, WAKE, i, NULL); }
    return;
  }
}

/* prefill.next_chunk and EngineState.take_chunk: how many prompts have tokens in it */
static i64 take_chunk(State *s, i64 budget) {
  Run *r = s->r;
  i64 n = 0;
  for (i64 i = 0; i < s->prompts.rows && (!i || budget > 0); i++, n++) {
    i64 id = s->prompts.at[i], tokens = least(s->goal[id] - s->prefilled[id], budget);
    r->place[id] = CHUNK;
    s->chunk_starts[n] = s->prefilled[id];
    s->chunk_tokens[n] = tokens;
    s->chunk_last[n] = s->prefilled[id] + tokens == s->goal[id] && r->generated[id] == 0;
    budget -= tokens;
  }
  return n;
}

static void prefill(State *s) { /* prefill.prefill, up to its wait */
  if (!s->prompts.rows || (s->r->prompts_beside && s->ready.rows + s->in_rounds)) { s->bell = 1; return; }
  i64 n = take_chunk(s, s->r->chunk), total = 0, label = 0;
  Operation *job = operation(s, PREFILL, -1, n);
  if (!job) return;
  for (i64 i = 0; i < n; i++) total += s->chunk_tokens[i];
  double seconds = costs_of_prompts(s, job, (Prompts){n, s->chunk_tokens, s->chunk_starts}, &label);
  submit(s, job, s->r->target_lane, -1, total, seconds, label);
}

static void commit_chunk(State *s, i64 n) { /* prefill.commit_chunk and EngineState.chunk_done */
  Run *r = s->r;
  i64 going_on = 0, through = 0, *who = s->b, *row = s->c;
  for (i64 i = 0; i < n; i++) {
    i64 id = s->prompts.at[i];
    s->prefilled[id] += s->chunk_tokens[i];
    if (s->cancelled[id] || s->prefilled[id] == s->goal[id]) {
      row[through] = i, who[through++] = id;
      continue;
    }
    r->place[id] = PROMPT;
    s->prompts.at[going_on++] = id;
  }
  memmove(s->prompts.at + going_on, s->prompts.at + n, (s->prompts.rows - n) * sizeof(i64));
  s->prompts.rows += going_on - n;
  for (i64 i = 0; i < through; i++) {
    i64 id = who[i];
    if (s->cancelled[id]) { finish(s, id, CANCELLED); continue; }
    if (s->chunk_last[row[i]]) {
      r->generated[id] = 1;
      r->first_token_ns[id] = s->now;
      if (r->output[id] == 1) { finish(s, id, COMPLETED); continue; }
    }
    r->place[id] = READY;
    s->ready.at[s->ready.rows++] = id;
  }
  wake(s);
}
