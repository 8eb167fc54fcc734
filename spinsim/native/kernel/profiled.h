/* What operations cost by a profile: spinsim.costs.profiled. -1: beyond what was measured, so ask Python. */
static int covers(const Fit *f, double rows, double tokens, double kv) { /* ProfiledPass.covers */
  return tokens <= f->max_tokens * EDGE && kv <= f->max_kv * EDGE && kv <= f->max_context * EDGE * rows;
}

/* Law.fixed, or MonotoneTable.row: what a fit keeps by tokens and positions with logits */
static const double *part_of(State *s, Fit *f, double tokens, double head) {
  i64 at = ((i64)tokens * 31 + (i64)head) & (CELLS - 1), tried = 0;
  for (; tried < CELLS && f->cells[at].values; tried++, at = (at + 1) & (CELLS - 1))
    if (f->cells[at].tokens == tokens && f->cells[at].head == head) return f->cells[at].values;
  const double *values = s->r->ask_fit(f->number, tokens, head);
  if (tried < CELLS) f->cells[at] = (Cell){tokens, head, values};
  return values;
}

static double predicted(State *s, Fit *f, const Shape *p) { /* Law.predict, MonotoneTable.predict */
  const double *part = part_of(s, f, p->tokens, f->is_law ? p->head : 0.0), *c = f->coefficients;
  if (!part) return 0.0;
  if (f->is_law) {
    double memory = f->kv_s * p->kv + f->query_s * p->queries, compute = f->pair_s * p->pairs;
    i64 none = f->waits == FOR_NOTHING || (f->waits == FOR_PROMPTS && p->tokens < LONG_QUERY);
    double waited = none ? 0.0 : p->longest ? p->longest : p->kv / p->rows; /* laws.waited_for */
    return part[0] + c[2] * (memory > compute ? memory : compute) + c[4] * p->rows + c[5] * waited;
  }
  i64 at = 0;
  while (at < f->knots && f->knot[at] <= p->kv) at++; /* bisect_right */
  if (at == 0) return part[0];
  if (at == f->knots) return part[at - 1];
  double low = f->knot[at - 1], high = f->knot[at];
  return part[at - 1] + (part[at] - part[at - 1]) * (p->kv - low) / (high - low);
}

static double fit_s(State *s, Fit *f, Shape p, i64 *label) { /* ProfiledPass.estimate */
  if (!f->known) return -1;
  for (i64 i = 0; i < f->points; i++) {
    const double *m = f->measured + 7 * i;
    if (m[4] != p.kv || m[0] != p.rows || m[1] != p.tokens || m[2] != p.head) continue;
    if (m[3] != p.queries || m[5] != p.pairs) continue;
    *label = MEASURED;
    return m[6];
  }
  if (!covers(f, p.rows, p.tokens, p.kv)) return -1;
  if (p.tokens < f->min_tokens || p.kv < f->min_kv)
    p.tokens = fmax(p.tokens, f->min_tokens), p.kv = fmax(p.kv, f->min_kv);
  *label = INTERPOLATED;
  return predicted(s, f, &p);
}

static Shape step_shape(double rows, double tokens, double kv) { /* executed.step_shape */
  return (Shape){rows, tokens, rows, tokens, kv, kv * tokens / rows, 0.0};
}

/* ProfilePredictor.prefill and .catch_up of one pass */
static double profiled_prompts_s(State *s, Fit *f, Prompts p, int head, i64 *label) {
  i64 total = 0, cached = 0, pairs = 0, squares = 0, longest = 0, graphs = s->r->profiled->prompt_graphs;
  for (i64 i = 0; i < p.rows; i++) {
    total += p.tokens[i], cached += p.starts[i];
    pairs += p.tokens[i] * p.starts[i], squares += p.tokens[i] * p.tokens[i];
    longest = most(longest, p.starts[i] + p.tokens[i]);
  }
  *label = MEASURED;
  if (!total) return 0.0;
  double rows = graphs ? power_of_two(p.rows) : p.rows;
  double executed = graphs ? bucket_prompt_tokens(total) : total;
  if (graphs && executed > PROMPT_TOKENS) return -1; /* several passes */
  pairs += (squares + total) / 2;
  Shape shape = {rows, executed, head ? rows : 0, executed, cached + total, pairs, longest};
  return fit_s(s, f, shape, label);
}

/* ProfilePredictor.propose, ._alike and ._unlike */
static double profiled_propose_s(State *s, i64 draft, i64 rows, const i64 *lengths, const i64 *contexts,
                                 i64 *label) {
  Profiled *all = s->r->profiled;
  Fit *known = &all->first[draft], *later = &all->later[draft];
  const i64 *executed_rows = all->step_rows + draft * (s->r->batch + 1);
  i64 steps = 0, alike = 1, cached = 0, worst = MEASURED, one;
  for (i64 i = 0; i < rows; i++) {
    steps = most(steps, lengths[i]), cached += contexts[i];
    alike &= lengths[i] == lengths[0];
  }
  *label = MEASURED;
  if (!steps) return 0.0;
  if (alike) {
    double executed = executed_rows[rows];
    double first = fit_s(s, known, step_shape(executed, 2 * executed, cached), label);
    if (steps == 1 || first < 0) return first;
    if (!later->known || !covers(later, executed, executed, cached + rows * (steps - 1))) return -1;
    double mean = fit_s(s, later, step_shape(executed, executed, cached + rows * steps / 2.0), &one);
    if (mean < 0) return -1;
    *label = steps == 2 ? most(*label, one) : INTERPOLATED;
    return first + (steps - 1) * mean;
  }
  double seconds = 0.0;
  for (i64 step = 0; step < steps; step++) {
    i64 active = 0, kv = 0;
    for (i64 i = 0; i < rows; i++)
      if (lengths[i] > step) active++, kv += contexts[i];
    double executed = executed_rows[active], tokens = step ? executed : 2 * executed;
    double found = fit_s(s, step ? later : known, step_shape(executed, tokens, kv + step * active), &one);
    if (found < 0) return -1;
    seconds += found;
    worst = most(worst, one);
  }
  *label = worst;
  return seconds;
}

static double profiled_verify_s(State *s, const Packing *p, i64 *label) { /* ProfilePredictor.verify */
  double tokens = s->r->profiled->verify_tokens[p->real_queries];
  double pairs = (double)(p->kv * p->queries) / p->rows;
  Shape shape = {p->rows, tokens, tokens, p->queries, p->kv, pairs, 0.0};
  return fit_s(s, &s->r->profiled->verify[p->kind], shape, label);
}

static double profiled_transfer_s(State *s, i64 rows, i64 tokens) { /* ProfilePredictor.transfer */
  double *known = &s->r->profiled->transfer_s[tokens];
  i64 ignored;
  if (*known != *known) *known = s->r->ask_cost(TRANSFER, NO_DRAFT, rows, &tokens, NULL, &ignored);
  return *known;
}
