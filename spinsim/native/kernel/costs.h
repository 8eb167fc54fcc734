/* What operations cost: spinsim.buckets, spinsim.costs.operators, .roofline and .contention. */
static i64 bit_length(i64 n) { i64 bits = 0; for (; n > 0; n >>= 1) bits++; return bits; }
static i64 power_of_two(i64 n) { return n > 0 ? (i64)1 << bit_length(n - 1) : 0; }

static i64 round_up(i64 n, i64 unit, i64 octave_bits) { /* buckets._round_up */
  i64 step = most(unit, (i64)1 << most(0, bit_length(n - 1) - 1 - octave_bits));
  return ceil_div(n, step) * step;
}

static i64 bucket_rows(i64 n) { return n <= 8 ? power_of_two(n) : round_up(n, 8, 2); }
static i64 bucket_tokens(i64 n) { return n <= 8 ? power_of_two(n) : round_up(n, 8, 3); }
static i64 bucket_kv(i64 n) { return n > 0 ? round_up(n, 64, 2) : 0; }
static i64 bucket_prompt_tokens(i64 n) { return n > 0 ? round_up(n, 16, 1) : 0; }

/* A sum of floats as Python's sum() adds them: since 3.12 after Neumaier, with what roundings lost. */
typedef struct { double total, lost; } Sum;

static void add(State *s, Sum *sum, double x) {
  double total = sum->total + x;
  if (s->r->compensated)
    sum->lost += fabs(sum->total) >= fabs(x) ? (sum->total - total) + x : (x - total) + sum->total;
  sum->total = total;
}

static double added(const Sum *sum) {
  return sum->lost && isfinite(sum->lost) ? sum->total + sum->lost : sum->total;
}

/* PassCosts.body, .output */
static double of_pass(State *s, Costs *costs, i64 model, int output, i64 tokens) {
  Model *m = &costs->models[model];
  double *table = output ? m->output : m->body;
  if (tokens < m->size && table[tokens] == table[tokens]) return table[tokens];
  double seconds = s->r->ask_pass(costs->number, model, output, tokens);
  if (tokens < m->size) table[tokens] = seconds;
  return seconds;
}

static double larger(double a, double b) { return a > b ? a : b; }

static double attention(double kv_s, double query_s, double pair_s, i64 kv, i64 queries, i64 pairs) {
  double memory = kv_s * kv + query_s * queries, compute = pair_s * pairs; /* AttentionLaw.seconds */
  return memory > compute ? memory : compute;
}

typedef struct { i64 rows; const i64 *tokens, *starts; } Prompts; /* new tokens, after cached ones */

/* roofline._prompt_pass and ._causal */
static double prompt_pass(State *s, Costs *costs, i64 model, Prompts p, int head) {
  Model *m = &costs->models[model];
  i64 total = 0, cached = 0, pairs = 0, squares = 0, longest = 0;
  for (i64 i = 0; i < p.rows; i++) {
    total += p.tokens[i], cached += p.starts[i];
    pairs += p.tokens[i] * p.starts[i], squares += p.tokens[i] * p.tokens[i];
    longest = most(longest, p.starts[i] + p.tokens[i]);
  }
  pairs += (squares + total) / 2;
  i64 executed_rows = m->graphs ? power_of_two(p.rows) : p.rows;
  i64 executed = m->graphs ? bucket_prompt_tokens(total) : total;
  double read = attention(m->prompt_kv_s, m->prompt_query_s, m->prompt_pair_s, cached + total, total, pairs);
  if (executed >= LONG_QUERY) read = larger(read, m->row_s * longest);
  double seconds = m->overhead_s + of_pass(s, costs, model, 0, executed) + read;
  return head ? seconds + of_pass(s, costs, model, 1, executed_rows) : seconds;
}

/* RooflinePredictor._prompts, executed.in_passes and buckets.prompt_passes */
static double prompts_s(State *s, Costs *costs, i64 model, Prompts p, int head) {
  Model *m = &costs->models[model];
  i64 total = 0;
  for (i64 i = 0; i < p.rows; i++) total += p.tokens[i];
  if (!total) return 0.0;
  if (!m->graphs || total <= PROMPT_TOKENS) return m->operation_s + prompt_pass(s, costs, model, p, head);
  Sum sum = {0.0, 0.0};
  i64 *piece = s->b, *from = s->c, n = 0, left = PROMPT_TOKENS;
  for (i64 i = 0; i < p.rows; i++) {
    i64 more = p.tokens[i], start = p.starts[i];
    while (more > 0) {
      i64 now = least(more, left);
      piece[n] = now, from[n++] = start;
      more -= now, start += now, left -= now, total -= now;
      if (left && total) continue;
      add(s, &sum, prompt_pass(s, costs, model, (Prompts){n, piece, from}, head));
      n = 0, left = PROMPT_TOKENS;
    }
  }
  return m->operation_s + added(&sum);
}

static double step_s(State *s, Costs *costs, i64 draft, i64 rows, int first) { /* _DraftCosts._step */
  Model *m = &costs->models[1 + draft];
  i64 executed = m->graphs ? bucket_rows(rows) : rows, queries = first ? 2 * executed : executed;
  double seconds = m->overhead_s + of_pass(s, costs, 1 + draft, 0, queries);
  seconds += of_pass(s, costs, 1 + draft, 1, executed);
  return seconds + m->query_s * queries;
}

/* RooflinePredictor.propose, _DraftCosts.propose and ._unequal */
static double propose_s(State *s, Costs *costs, i64 draft, i64 rows, const i64 *lengths,
                        const i64 *contexts) {
  Model *m = &costs->models[1 + draft];
  double later = m->kv_s > m->pair_s ? m->kv_s : m->pair_s, seconds = 0.0;
  double kv_first = m->kv_s > 2 * m->pair_s ? m->kv_s : 2 * m->pair_s;
  i64 steps = lengths[0], longest = 0, alike = 1, all = 0, cached = 0, begun = 0, grown = 0;
  for (i64 i = 0; i < rows; i++) {
    alike &= lengths[i] == steps;
    longest = most(longest, lengths[i]);
    all += contexts[i], cached += lengths[i] * contexts[i], begun += lengths[i] ? contexts[i] : 0;
  }
  if (alike) {
    if (!steps) return 0.0;
    grown = rows * (steps * (steps - 1) / 2);
    seconds = step_s(s, costs, draft, rows, 1) + (steps - 1) * step_s(s, costs, draft, rows, 0);
    seconds = seconds + later * grown + (kv_first + (steps - 1) * later) * all;
  } else {
    for (i64 step = 0; step < longest; step++) {
      i64 active = 0;
      for (i64 i = 0; i < rows; i++) active += lengths[i] > step;
      seconds += step_s(s, costs, draft, active, step == 0);
      grown += step * active;
    }
    seconds = seconds + later * (cached + grown - begun) + kv_first * begun;
  }
  return seconds ? m->operation_s + seconds : 0.0;
}

static double verify_s(State *s, Costs *costs, const Packing *p) {
  Model *m = &costs->models[0]; /* RooflinePredictor.verify */
  i64 kv = p->kv, executed = m->graphs ? bucket_tokens(p->real_queries) : p->real_queries;
  double seconds = m->operation_s + m->overhead_s + of_pass(s, costs, 0, 0, executed);
  seconds += of_pass(s, costs, 0, 1, executed);
  if (s->r->rectangular[p->kind] && m->graphs) kv = bucket_rows(p->rows) * bucket_kv(p->piece);
  double memory = m->kv_s * kv + m->query_s * p->queries, compute = m->pair_s * kv * p->queries / p->rows;
  double read = larger(memory, compute);
  if (s->r->merged[p->kind]) read = larger(read, m->row_s * p->piece);
  seconds = seconds + read;
  if (s->r->merged[p->kind] && p->queries > p->real_queries)
    seconds += p->queries * m->merge_values / m->merge_bandwidth; /* PassCosts.merge_s */
  return seconds;
}

static double rounded_up(double x) { return x > 0.0 ? x : 0.0; } /* max(0.0, x) */

static Demand demand_of(State *s, i64 model, i64 passes, double found) { /* roofline._load */
  Model *m = &s->r->loads->models[1 + model];
  return (Demand){model, 0.0, (double)passes * m->kernels, rounded_up(found - passes * m->overhead_s)};
}

static i64 prompt_passes(Model *m, Prompts p) { /* roofline._prompt_passes */
  i64 total = 0;
  for (i64 i = 0; i < p.rows; i++) total += p.tokens[i];
  return m->graphs ? ceil_div(total, PROMPT_TOKENS) : 1;
}

static double busy(const Demand *d) { return d->seconds > 0 ? fmin(1.0, d->work_s / d->seconds) : 0.0; }

static double kernel_delay(Run *r, const Demand *own, const Demand *other) { /* KernelLaw.delay */
  if (own->seconds <= 0 || other->seconds <= 0) return 0.0;
  double at_work = busy(other), kernel_s = other->kernels ? other->work_s / other->kernels : 0.0;
  double whole = fmin(kernel_s, (kernel_s + LONG_S) / 2);
  double waits_s = fmin(whole, r->wait * rounded_up(kernel_s - r->short_s));
  double gaps = (1.0 - busy(own)) * (r->gap + r->crowd * at_work);
  return gaps + own->kernels / own->seconds * at_work * waits_s;
}

/* Law.delay: r->law, or Factors' among */
static double delay(Run *r, const Demand *own, const Demand *other) {
  i64 between = own->model >= 0 && other->model >= 0 ? r->among : ASKED;
  i64 law = r->law != ASKED ? r->law : between;
  if (law == FIRST) return kernel_delay(r, own, other);
  if (law == SECOND) return 1.0; /* InTurn */
  i64 draft = own->model < 0 ? most(own->model, other->model) : own->model; /* Factors.delay */
  double *known = &r->factors[2 * (draft + 1) + (own->model < 0)];
  if (*known != *known) *known = r->ask_factor(draft, own->model < 0);
  return *known - 1.0;
}

static double slowdown(State *s, i64 device, i64 lane) { /* SharedDevice.slowdown, contention._summed */
  Run *r = s->r;
  Sum sum = {0.0, 0.0};
  for (i64 other = 0; other < r->lanes; other++) {
    Operation *beside = s->lanes[other].running;
    if (other == lane || !beside || !r->lane_devices[other * r->devices + device]) continue;
    add(s, &sum, delay(r, &s->lanes[lane].running->demand, &beside->demand));
  }
  return 1.0 + added(&sum);
}
