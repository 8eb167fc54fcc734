/* Who drafts what: spinsim.engine.drafting. */
/* drafting._submit_catch_up */
static void submit_catch_up(State *s, i64 index, i64 draft, const i64 *who, Prompts p) {
  i64 total = 0, label = 0;
  Operation *job = operation(s, CATCH_UP, draft, p.rows);
  if (!job) return;
  for (i64 i = 0; i < p.rows; i++) total += p.tokens[i], job->whom[i] = who[i];
  double seconds = costs_of_prompts(s, job, p, &label);
  submit(s, job, s->r->draft_lane[draft], index, total, seconds, label);
}

static void add_catch_up(State *s, i64 id, i64 draft, i64 missing) { /* drafting._add_catch_up */
  s->r->cached[id * s->r->drafts + draft] += missing;
  s->background[id * s->r->drafts + draft]++;
  s->r->catch_up[id] += missing;
}

static void caught_up(State *s, Operation *job) { /* ``done`` in drafting._submit_catch_up, ._drop_late */
  for (i64 i = 0; i < job->rows; i++) {
    i64 id = job->whom[i];
    i32 left = --s->background[id * s->r->drafts + job->draft];
    if (!left && s->r->finished_ns[id] >= 0) drop(s, id, job->draft);
  }
  heard_of(s, job);
}

static void settle_drafts(State *s, MicroBatch *m, i64 index) { /* drafting.settle_drafts, .catch_up_beside */
  Run *r = s->r;
  i64 near = r->max_length + 2, *moving = s->a, k = r->drafts;
  i64 *who = m->accepted, *tokens = m->committed, *starts = m->catch_up; /* not in use yet */
  for (i64 i = 0; i < m->rows; i++) {
    i64 draft = m->draft[i], last = r->last_draft[m->id[i]], at = m->id[i] * k + draft;
    moving[i] = NO_DRAFT;
    if (draft < 0 || last < 0 || draft == last) continue;
    if (!s->background[at]) {
      if (!r->pools[draft].keeps || m->context[i] - r->cached[at] <= near) continue;
      moving[i] = draft;
    }
    m->draft[i] = last;
  }
  for (i64 first = 0; first < m->rows; first++) {
    i64 draft = moving[first], n = 0;
    if (draft < 0) continue;
    for (i64 i = first; i < m->rows; i++) {
      if (moving[i] != draft) continue;
      moving[i] = NO_DRAFT;
      i64 id = m->id[i], placed = make_place(s, id, draft, m->context[i]);
      i64 missing = m->context[i] - 1 - r->cached[id * k + draft];
      if (!placed || missing <= 0) continue;
      who[n] = id, tokens[n] = missing, starts[n++] = r->cached[id * k + draft];
      add_catch_up(s, id, draft, missing);
    }
    if (n) submit_catch_up(s, index, draft, who, (Prompts){n, tokens, starts});
  }
}

/* the second half of .speculate */
static void propose(State *s, MicroBatch *m, i64 index, i64 draft, i64 first) {
  Run *r = s->r;
  i64 n = 0, behind = 0, longest = 0, label = r->costs->label, *lengths = s->a, *contexts = s->b;
  i64 *who = m->accepted, *starts = m->committed; /* not in use yet */
  for (i64 i = first; i < m->rows; i++) {
    if (m->draft[i] != draft || !m->catch_up[i]) continue;
    who[behind] = m->id[i], s->a[behind] = m->catch_up[i];
    starts[behind++] = r->cached[m->id[i] * r->drafts + draft] - m->catch_up[i];
  }
  if (behind) submit_catch_up(s, index, draft, who, (Prompts){behind, s->a, starts});
  for (i64 i = first; i < m->rows; i++) n += m->draft[i] == draft;
  Operation *job = operation(s, PROPOSE, draft, n);
  if (!job) return;
  n = 0;
  for (i64 i = first; i < m->rows; i++) {
    if (m->draft[i] != draft) continue;
    lengths[n] = m->length[i], contexts[n] = m->context[i], job->whom[n++] = i;
    longest = most(longest, m->length[i]);
  }
  if (r->loads->formula)
    job->demand = demand_of(s, draft, longest, propose_s(s, r->loads, draft, n, lengths, contexts));
  double seconds = -1;
  if (r->costs->formula == FIRST) seconds = propose_s(s, r->costs, draft, n, lengths, contexts);
  if (r->costs->formula == SECOND) seconds = profiled_propose_s(s, draft, n, lengths, contexts, &label);
  if (seconds < 0) seconds = r->ask_cost(PROPOSE, draft, n, lengths, contexts, &label);
  m->proposals[m->awaited++] = job;
  submit(s, job, r->draft_lane[draft], index, longest, seconds, label);
}

static void speculate(State *s, MicroBatch *m, i64 index) { /* drafting.speculate */
  Run *r = s->r;
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], draft = m->draft[i];
    m->catch_up[i] = 0;
    if (draft < 0) { m->length[i] = 0; continue; }
    m->length[i] = least(m->length[i], r->context - m->context[i]);
    if (m->length[i] <= 0 || !make_place(s, id, draft, m->context[i] + m->length[i])) {
      m->draft[i] = NO_DRAFT, m->length[i] = 0;
      continue;
    }
    i64 missing = m->context[i] - 1 - r->cached[id * r->drafts + draft];
    if (missing <= 1 || !r->pools[draft].keeps) continue;
    m->catch_up[i] = missing;
    add_catch_up(s, id, draft, missing);
  }
  for (i64 first = 0; first < m->rows; first++) { /* drafting._by_draft: in order of first use */
    i64 seen = m->draft[first] < 0;
    for (i64 i = 0; i < m->awaited && !seen; i++) seen = m->proposals[i]->draft == m->draft[first];
    if (!seen) propose(s, m, index, m->draft[first], first);
    if (r->stop) return;
  }
}
