/* Rounds, and the memory that contexts grow into: spinsim.engine.rounds and .preemption. */
static void put_back(State *s, i64 rows, const i64 *who, int first) { /* EngineState.put_back */
  i64 *ready = s->ready.at;
  if (first) memmove(ready + rows, ready, s->ready.rows * sizeof(i64));
  memcpy(first ? ready : ready + s->ready.rows, who, rows * sizeof(i64));
  for (i64 i = 0; i < rows; i++) s->r->place[who[i]] = READY;
  s->in_rounds -= rows;
  s->ready.rows += rows;
}

static i64 latest_idle(State *s, MicroBatch *m, i64 after) { /* preemption._latest_idle; -1: nobody */
  List batch = {m->rows, m->id}, *among[] = {&batch, &s->ready, &s->prompts};
  i64 latest = -1;
  for (i64 which = 0; which < 3; which++)
    for (i64 i = 0; i < among[which]->rows; i++) {
      i64 id = among[which]->at[i], place = s->r->place[id];
      if (s->admission[id] <= after || place == WAITING || place == CHUNK || s->kept[id]) continue;
      after = s->admission[latest = id];
    }
  return latest;
}

static int later_in_flight(State *s, i64 after) { /* preemption._later_in_flight */
  for (i64 i = 0; i < s->prompts.rows; i++)
    if (s->r->place[s->prompts.at[i]] == CHUNK && s->admission[s->prompts.at[i]] > after) return 1;
  for (i64 b = 0; b < s->r->max_depth; b++)
    for (i64 i = 0; i < s->batches[b].rows; i++) {
      i64 id = s->batches[b].id[i];
      if (s->r->place[id] == ROUND && s->admission[id] > after) return 1;
    }
  return 0;
}

static i64 reserve_memory(State *s, MicroBatch *m) { /* preemption.reserve_memory; of the batch, who stays */
  Run *r = s->r;
  i64 *kept = s->a, *waiting = s->b, n = 0, waits = 0, preempted = 0;
  for (i64 i = 1; i < m->rows; i++) { /* sorted by admission */
    i64 id = m->id[i], j = i;
    for (; j && s->admission[m->id[j - 1]] > s->admission[id]; j--) m->id[j] = m->id[j - 1];
    m->id[j] = id;
  }
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], blocks, victim;
    if (r->place[id] == WAITING) continue;
    i64 tokens = least(r->prompt[id] + r->generated[id] + r->max_length, r->context);
    while ((blocks = grow(r->target_pool, s->target_held[id], tokens)) < 0) {
      if ((victim = latest_idle(s, m, s->admission[id])) >= 0) preempted = 1, preempt(s, victim);
      else if (later_in_flight(s, s->admission[id])) { waiting[waits++] = id; break; }
      else { preempted = 1, preempt(s, id); break; }
    }
    if (blocks >= 0) s->target_held[id] = blocks, kept[n++] = id, s->kept[id] = 1;
  }
  for (i64 i = 0; i < n; i++) s->kept[kept[i]] = 0;
  put_back(s, waits, waiting, 1);
  m->rows = n;
  memcpy(m->id, kept, n * sizeof(i64));
  if (preempted) admit(s);
  else note_load(s);
  return waits;
}

static i64 take(State *s, i64 rows, const i64 *chosen, i64 *taken) { /* EngineState.take */
  i64 left = 0, next = 0;
  for (i64 i = 0; i < s->ready.rows; i++) {
    if (next < rows && chosen[next] == i) taken[next++] = s->ready.at[i];
    else s->ready.at[left++] = s->ready.at[i];
  }
  for (i64 i = 0; i < next; i++) s->r->place[taken[i]] = ROUND;
  s->ready.rows = left;
  s->in_rounds += next;
  return next;
}

static i64 compose(State *s, MicroBatch *m, i64 index) { /* Engine.compose */
  Run *r = s->r;
  i64 deep = depth(s), n = 0, *chosen = s->a;
  m->rows = 0;
  if (index >= deep) return 0;
  if (s->impatient) { /* EngineState.take_cancelled */
    s->impatient = 0;
    for (i64 i = 0; i < s->ready.rows; i++)
      if (s->cancelled[s->ready.at[i]]) chosen[n++] = i;
    n = take(s, n, chosen, m->id);
    for (i64 i = 0; i < n; i++) finish(s, m->id[i], CANCELLED);
  }
  if (!s->ready.rows) return 0;
  i64 active = s->ready.rows + s->in_rounds;
  if (r->composition) { /* RoundRobin.select, composition.share */
    n = least(s->ready.rows, most(1, ceil_div(active, deep)));
    for (i64 i = 0; i < n; i++) chosen[i] = i;
  } else {
    memcpy(chosen, s->ready.at, s->ready.rows * sizeof(i64));
    n = r->select(s->ready.rows, chosen, active, deep);
  }
  return m->rows = take(s, n, chosen, m->id);
}

static void park(State *s, MicroBatch *m, int in_turn) { /* Engine.park */
  if (in_turn) wake(s);
  m->parked = 1;
}

static void plan(State *s, MicroBatch *m) { /* Ragged.shape, Padded.shape */
  Run *r = s->r;
  i64 *kv = s->a, *queries = s->b, longest = 0, widest = 0, all_kv = 0, all_queries = 0;
  for (i64 i = 0; i < m->rows; i++) {
    kv[i] = m->context[i] + m->length[i], queries[i] = m->length[i] + 1;
    longest = most(longest, kv[i]), widest = most(widest, queries[i]);
    all_kv += kv[i], all_queries += queries[i];
  }
  m->packing = (Packing){r->packing_kind, m->rows, longest, all_queries, all_kv, all_queries, all_kv};
  if (r->packing == SECOND) m->packing.queries = m->rows * widest, m->packing.kv = m->rows * longest;
  if (r->packing == THIRD) decompose(s, m->rows, kv, widest, &m->packing);
  if (r->packing == ASKED) r->plan(m->rows, kv, queries, &m->packing);
}

static double transfer_s(State *s, i64 rows, i64 tokens) { /* RooflinePredictor.transfer, Link.seconds */
  Costs *costs = s->r->costs;
  i64 ignored;
  if (costs->formula == SECOND) return profiled_transfer_s(s, rows, tokens);
  if (!costs->formula) return s->r->ask_cost(TRANSFER, NO_DRAFT, rows, &tokens, NULL, &ignored);
  if (!costs->linked || !tokens) return 0.0;
  return costs->link_latency + (double)(tokens * costs->link_bytes) / costs->link_bandwidth;
}

static void verify(State *s, MicroBatch *m, i64 index) { /* the verification of rounds.play_round */
  Run *r = s->r;
  i64 label, away = 0, drafted = 0;
  Operation *job = operation(s, VERIFY, -1, m->rows);
  if (!job) return;
  m->verification = job;
  job->waiter = index;
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], draft = m->draft[i], at = id * r->drafts + draft;
    if (draft >= 0 && !r->runs[at]) r->ask_runs(id, draft);
    if (r->stop || (draft >= 0 && !r->runs[at])) return;
    /* verdicts.accepted */
    m->accepted[i] = draft >= 0 ? least(r->runs[at][m->position[i]], m->length[i]) : 0;
    away |= r->remote[draft < 0 ? r->drafts : draft];
    drafted += m->length[i];
  }
  if (r->loads->formula)
    job->demand = demand_of(s, -1, 1, verify_s(s, r->loads, &m->packing));
  double seconds = price_of_verification(s, &m->packing, &label);
  if (away) seconds += transfer_s(s, m->rows, drafted);
  i64 tokens = m->packing.queries, budget = r->chunk - tokens, one = 1, none = 0, ignored;
  if (r->prompts_beside && s->prompts.rows && budget > 0) { /* rounds._prompts_beside */
    s->beside = take_chunk(s, budget);
    for (i64 i = 0; i < s->beside; i++) tokens += s->chunk_tokens[i];
    double alone = price_of_prompts(s, -1, (Prompts){s->beside, s->chunk_tokens, s->chunk_starts}, &ignored);
    seconds += rounded_up(alone - price_of_prompts(s, -1, (Prompts){1, &one, &none}, &ignored));
  }
  submit(s, job, r->target_lane, index, tokens, seconds, label);
}

static void begin_round(State *s, MicroBatch *m, i64 index) { /* rounds.play_round, up to its first wait */
  Run *r = s->r;
  m->assigned_ns = s->now;
  m->depth = depth(s);
  m->awaited = 0;
  for (i64 i = 0; i < m->rows; i++) {
    m->position[i] = r->generated[m->id[i]];
    m->context[i] = r->prompt[m->id[i]] + m->position[i];
    m->draft[i] = NO_DRAFT, m->length[i] = 0, m->draft_s[i] = 0.0;
  }
  if (r->selector == FIRST) /* Fixed.assign */
    for (i64 i = 0; i < least(m->rows, r->fixed_capacity); i++) m->draft[i] = r->fixed_draft;
  else if (r->selector == SECOND) spin_assign(s, m);
  else r->assign(m->rows, m->id, m->draft);
  if (r->overlapped) settle_drafts(s, m, index);
  if (r->length) /* StaticLengths.lengths */
    for (i64 i = 0; i < m->rows; i++) m->length[i] = r->lengths[m->draft[i] < 0 ? r->drafts : m->draft[i]];
  else r->ask_lengths(m->rows, m->id, m->draft, m->length);
  speculate(s, m, index);
}

/* the proposals of rounds.play_round: are all there? */
static int drafted(State *s, MicroBatch *m, i64 index) {
  while (m->awaited) {
    Operation *job = m->proposals[m->awaited - 1];
    if (!job->done) { job->waiter = index; return 0; }
    double seconds = (job->finished_ns - job->started_ns) * 1e-9;
    for (i64 i = 0; i < job->rows; i++) m->draft_s[job->whom[i]] = seconds;
    m->awaited--;
    heard_of(s, job);
  }
  m->drafted_ns = s->now;
  return 1;
}

static void commit(State *s, MicroBatch *m, i64 index) { /* rounds.commit, and what play_round logs */
  Run *r = s->r;
  Packing *p = &m->packing;
  i64 header[] = {index, m->depth, m->rows,
                  m->assigned_ns, m->drafted_ns, m->verification->started_ns, s->now,
                  p->rows, p->piece, p->queries, p->kv, p->real_queries, p->real_kv, p->kind};
  append(s, ROUNDS, 14, header);
  /* With prompts in it, its time says nothing of the verification alone. */
  m->verify_ns = s->beside ? 0 : m->verification->finished_ns - m->verification->started_ns;
  heard_of(s, m->verification);
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], draft = m->draft[i], length = m->length[i], hits = m->accepted[i];
    i64 remaining = r->output[id] - r->generated[id];
    if (draft >= 0) {
      r->cached[id * r->drafts + draft] = m->context[i] + (hits < length ? hits : length ? length - 1 : 0);
      if (r->last_draft[id] != draft) {
        if (r->last_draft[id] >= 0) r->switches[id]++;
        r->last_draft[id] = draft;
      }
    }
    i64 tokens = hits < remaining ? hits + 1 : (hits = remaining);
    r->generated[id] += tokens;
    r->rounds[id]++;
    r->drafted[id] += length;
    r->accepted[id] += hits;
    m->accepted[i] = hits, m->committed[i] = tokens;
    i64 row[] = {id, m->position[i], draft, length, hits, tokens, m->catch_up[i]};
    append(s, ROWS, 7, row);
  }
}

static void learn(State *s, MicroBatch *m) { /* rounds.learn */
  Run *r = s->r;
  i64 n = 0, rows = m->rows, committed = 0, *staying = m->catch_up; /* not in use any more */
  double round_s = (s->now - m->assigned_ns) * 1e-9;
  if (r->listening)
    r->observe(rows, m->id, m->draft, m->length, m->accepted, m->committed, m->draft_s, round_s,
               m->verify_ns * 1e-9);
  if (r->selector == SECOND) spin_observe(s, m, round_s);
  for (i64 i = 0; i < rows; i++) {
    i64 id = m->id[i];
    committed += m->committed[i];
    if (r->generated[id] < r->output[id] && !s->cancelled[id]) staying[n++] = id;
  }
  for (i64 i = 0; i < rows; i++) {
    i64 id = m->id[i];
    if (r->generated[id] >= r->output[id]) finish(s, id, COMPLETED);
    else if (s->cancelled[id]) finish(s, id, CANCELLED);
  }
  put_back(s, n, staying, 0);
  m->rows = 0;
  if (!r->pipeline) r->observe_pipeline(committed, s->ready.rows + s->in_rounds);
}

static void micro_batch(State *s, i64 index) { /* rounds.micro_batch, from where it waited */
  MicroBatch *m = &s->batches[index];
  Run *r = s->r;
  if (m->state == VERIFYING) {
    commit(s, m, index);
    learn(s, m);
    if (s->beside) commit_chunk(s, s->beside);
    s->beside = 0;
    m->state = RESTING;
  }
  if (m->state == RESTING) {
    if (!compose(s, m, index)) {
      if (r->prompts_beside) ring_for_prompts(s);
      park(s, m, 1);
      return;
    }
    if (r->grow) {
      i64 waits = reserve_memory(s, m);
      if (!m->rows) { park(s, m, !waits); return; }
    }
    wake(s);
    begin_round(s, m, index);
    m->state = DRAFTING;
  }
  if (r->stop || !drafted(s, m, index)) return;
  plan(s, m);
  verify(s, m, index);
  if (r->thinking) r->think();
  m->state = VERIFYING;
}
