/* A whole run in predicted time. The same events in the same order, and the same sums in the same order, as the
 * Python engine: every function names the one that it repeats, and that one is the truth.
 *
 * Requests are numbered, and what is known of them is in arrays. Drafts are numbered from 0; NO_DRAFT is -1, and
 * so is the target where a model is meant. Time is in integer nanoseconds. What this file does not repeat is
 * asked of Python by the callbacks at the end of Run. Compile without contraction of floating-point operations. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;
typedef int32_t i32;

enum { NO_DRAFT = -1 };
enum { PREFILL, CATCH_UP, PROPOSE, VERIFY, TRANSFER }; /* spinsim.operations.KINDS, and one question more */
enum { WAITING, PROMPT, CHUNK, READY, ROUND, ENDED };  /* spinsim.engine.session */
enum { COMPLETED, REJECTED, CANCELLED, UNFINISHED };   /* spinsim.engine.records */
enum { DONE, STOPPED, STUCK, TOO_LONG, NO_MEMORY };    /* how a run ends */
enum { ASKED, FIRST, SECOND, THIRD };                  /* a policy's rule; ASKED: Python's */
enum { ROUNDS, ROWS, OPERATIONS, LOADS, TABLES };

#define CAUSAL_UNIT 2048 /* spinsim.buckets.PROMPT_TOKENS */
#define COLUMNS 16
#define BLOCK 4096       /* rows of a table between two looks at whether it is handed over */
#define POLL 16384       /* events between two looks at whether the user interrupts */

typedef struct { /* columns that grow, of integers of ``width`` bytes */
  i64 rows, room, columns, width[COLUMNS];
  void *column[COLUMNS];
} Table;

typedef struct { /* spinsim.engine.kv.KvPool, in numbers of blocks and slots */
  i64 full, keeps, block_tokens, blocks, slots, free_blocks, free_slots;
} Pool;

typedef struct { /* spinsim.costs.operators.PassCosts */
  double overhead_s, operation_s, kernels, kv_s, query_s, pair_s, prompt_kv_s, prompt_query_s, prompt_pair_s;
  double merge_values, merge_bandwidth;
  i64 graphs, size;
  double *body, *output; /* seconds by tokens below ``size``; NaN: nobody asked yet */
} Model;

typedef struct { /* spinsim.costs.roofline.RooflinePredictor; models: the target's, then the drafts' */
  i64 number, formula, label, linked, link_bytes; /* formula: ASKED, or FIRST for this one */
  double link_latency, link_bandwidth;
  Model *models;
} Costs;

typedef struct { i64 kind, rows, piece, queries, kv, real_queries, real_kv; } Packing;

typedef struct Run {
  /* the workload */
  i64 requests, clients; /* clients: of a closed loop, else 0 */
  const i64 *arrival_ns, *prompt, *patience_ns; /* patience: -1 without end */
  i64 *output;
  /* spinsim.engine.settings */
  i64 drafts, lanes, devices, target_lane, batch, context, chunk, max_length, overlapped, grow;
  const i64 *draft_lane, *remote; /* remote: its last entry is NO_DRAFT's */
  const i64 *lane_devices;        /* [lane * devices + device]: 1 where the lane works there */
  const i64 *beside;              /* [lane * (lanes + 1) + n]: the lane's n-th neighbour; -1 ends them */
  Pool *target_pool, *pools;
  /* costs */
  Costs *costs, *loads; /* loads: what operations ask of a shared device; formula 0 where nobody asks */
  i64 law, among, compensated; /* of contention; compensated: how Python adds floats */
  double gap, crowd, short_s, wait, *factors; /* factors: [2 * draft + of the target]; NaN: nobody asked yet */
  double *host_s, *handle_s; /* by rows; handle_s: [kind * (batch + 1) + rows] */
  i64 *host_ns, hosts, handles, noisy, hop_ns;
  /* policies */
  i64 admission, selector, length, packing, pipeline, composition, depth, max_depth, listening;
  i64 fixed_draft, fixed_capacity, arms, allow_none, reward, packing_kind;
  const i64 *lengths; /* by draft; the last is NO_DRAFT's */
  const i64 *rectangular, *merged; /* by kind of packing */
  double explore, weight, stay;
  const double *wanted;
  /* acceptance: [request * drafts + draft]; NULL: nobody asked yet */
  const uint16_t **runs;
  /* requests, as they are and as they are recorded */
  i64 *arrived_ns, *admitted_ns, *first_token_ns, *finished_ns;
  i32 *generated, *rounds, *drafted, *accepted, *switches, *catch_up, *preemptions, *last_draft, *slot, *cached;
  int8_t *status, *place;
  /* what comes out */
  Table tables[TABLES];
  double label_s[8], orchestrator_s;
  i64 report_every, arrived, ended, ended_ns, last_arrival_ns, now_ns, stop;
  /* what Python is asked; a callback that fails sets ``stop`` */
  double (*ask_pass)(i64 costs, i64 model, i64 output, i64 tokens);
  double (*ask_cost)(i64 kind, i64 draft, i64 rows, const i64 *first, const i64 *second, i64 *label);
  void (*ask_host)(i64 rows);
  double (*ask_factor)(i64 draft, i64 of_target);
  double (*ask_noise)(i64 kind);
  void (*ask_runs)(i64 request, i64 draft);
  i64 (*ask_depth)(void);
  i64 (*select)(i64 rows, i64 *chosen, i64 active, i64 depth); /* chosen: the ready requests, then indices */
  void (*assign)(i64 rows, const i64 *requests, i64 *drafts);
  void (*ask_lengths)(i64 rows, const i64 *requests, const i64 *drafts, i64 *lengths);
  void (*plan)(i64 rows, const i64 *kv, const i64 *queries, Packing *packing);
  void (*observe)(i64 rows, const i64 *requests, const i64 *drafts, const i64 *lengths, const i64 *accepted,
                  const i64 *committed, const double *draft_s, double round_s);
  void (*observe_pipeline)(i64 committed, i64 active);
  void (*forget)(i64 request);
  void (*flush)(i64 table, i64 rows);
  void (*report)(i64 ended);
} Run;

typedef struct { i64 model; double seconds, kernels, work_s; } Demand; /* spinsim.costs.contention.Demand */

typedef struct Operation { /* in flight, or done and not yet heard of */
  i64 record, kind, draft, rows, ready_ns, started_ns, finished_ns, done, waiter; /* waiter: who resumes */
  double remaining_ns;
  Demand demand;
  struct Operation *next; /* in its lane's queue */
  struct Operation *before, *after; /* among all that live */
  i64 whom[];             /* rows of the batch that a proposal serves, or requests of a catch-up */
} Operation;

typedef struct { /* spinsim.simulated.lanes: ExclusiveLane, or SharedLane where ``shared`` */
  i64 shared, free_ns, updated_ns, alarm, ending; /* alarm: the one that counts; ending: what it rings for */
  double rate;
  Operation *running, *first, *last;
} Lane;

typedef struct { /* spinsim.engine.rounds.micro_batch, as a process that waits somewhere */
  enum { RESTING, DRAFTING, VERIFYING } state;
  i64 parked, rows, awaited, depth, assigned_ns, drafted_ns;
  i64 *id, *position, *context, *draft, *length, *accepted, *committed, *catch_up;
  double *draft_s;
  Operation **proposals, *verification;
  Packing packing;
} MicroBatch;

enum { ARRIVAL, BELL, WAKE, ALARM, OPERATION, PATIENCE, END };
typedef struct { i64 at, number, kind, which; Operation *operation; } Event;
typedef struct { i64 keys[3], id; } Waiter;
typedef struct { i64 rows, *at; } List;

typedef struct {
  Run *r;
  i64 now, numbers, over, many; /* over: operations handed over; many: enough to hand over again */
  Event *events; i64 n_events, room_events;
  Waiter *waiting; i64 n_waiting;
  List prompts, ready, spare; /* prompts: those in a chunk come first */
  i64 admitted, admissions, in_rounds, impatient, is_short, next, bell;
  i64 host_free_ns, ended_kind, ended_rows;
  i64 *goal, *prefilled, *admission; int8_t *cancelled, *kept;
  i32 *held, *older, *newer, *background; i64 *oldest, *newest; /* by [request * drafts + draft]; by draft */
  i64 *target_held, *slots_back, n_slots_back, untouched_slots;
  Lane *lanes; MicroBatch *batches;
  Operation *chunk, *alive; i64 *chunk_tokens, *chunk_last;
  double **stats; i64 *stat_rounds; double *pool_gain, *pool_cost, *pool_pulls, *prior_gain, *prior_cost;
  i64 *a, *b, *c; /* scratch, as long as a batch or as what is ready */
  void *memory[96]; i64 n_memory;
} State;

static void *room(State *s, i64 count, i64 size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (!memory || s->n_memory == 96) { s->r->stop = NO_MEMORY; free(memory); return NULL; }
  return s->memory[s->n_memory++] = memory;
}

static i64 least(i64 a, i64 b) { return a < b ? a : b; }
static i64 most(i64 a, i64 b) { return a > b ? a : b; }
static i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

static i64 round_ns(State *s, double ns) { /* Python's round of a float: half to even */
  if (!(fabs(ns) < 4e18)) { s->r->stop = TOO_LONG; return 0; }
  return (i64)rint(ns);
}

/* --- tables ------------------------------------------------------------------------------------------------ */

static void put(Table *t, i64 column, i64 row, i64 value) {
  void *at = t->column[column];
  switch (t->width[column]) {
    case 1: ((int8_t *)at)[row] = value; break;
    case 2: ((int16_t *)at)[row] = value; break;
    case 4: ((i32 *)at)[row] = value; break;
    default: ((i64 *)at)[row] = value;
  }
}

static i64 append(State *s, i64 which, i64 columns, const i64 *values) { /* the new row's number */
  Table *t = &s->r->tables[which];
  if (t->rows == t->room) {
    i64 wanted = t->room ? 2 * t->room : 2 * BLOCK;
    for (i64 c = 0; c < t->columns; c++) {
      void *larger = realloc(t->column[c], wanted * t->width[c]);
      if (!larger) { s->r->stop = NO_MEMORY; return 0; }
      t->column[c] = larger;
    }
    t->room = wanted;
  }
  for (i64 c = 0; c < columns; c++) put(t, c, t->rows, values[c]);
  return t->rows++;
}

static void hand_over(State *s, i64 which, i64 rows) {
  Table *t = &s->r->tables[which];
  s->r->flush(which, rows);
  for (i64 c = 0; c < t->columns; c++) {
    char *column = t->column[c];
    memmove(column, column + rows * t->width[c], (t->rows - rows) * t->width[c]);
  }
  t->rows -= rows;
}

/* --- what is due: simpy.Environment.schedule and step, in the order (time, number) --------------------------- */

static int before(const Event *a, const Event *b) {
  return a->at < b->at || (a->at == b->at && a->number < b->number);
}

static void schedule(State *s, i64 at, i64 kind, i64 which, Operation *operation) {
  if (s->n_events == s->room_events) {
    Event *larger = realloc(s->events, 2 * s->room_events * sizeof(Event));
    if (!larger) { s->r->stop = NO_MEMORY; return; }
    s->events = larger;
    s->room_events *= 2;
  }
  Event event = {at, s->numbers++, kind, which, operation};
  i64 i = s->n_events++;
  for (; i && before(&event, &s->events[(i - 1) / 2]); i = (i - 1) / 2) s->events[i] = s->events[(i - 1) / 2];
  s->events[i] = event;
}

static Event next_event(State *s) {
  Event first = s->events[0], last = s->events[--s->n_events];
  i64 i = 0, child;
  while ((child = 2 * i + 1) < s->n_events) {
    if (child + 1 < s->n_events && before(&s->events[child + 1], &s->events[child])) child++;
    if (!before(&s->events[child], &last)) break;
    s->events[i] = s->events[child];
    i = child;
  }
  s->events[i] = last;
  return first;
}

/* --- costs: spinsim.buckets and spinsim.costs.roofline ------------------------------------------------------- */

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

typedef struct { double total, lost; } Sum; /* of floats, as Python's sum() adds them: since 3.12 after Neumaier */

static void add(State *s, Sum *sum, double x) {
  double total = sum->total + x;
  if (s->r->compensated)
    sum->lost += fabs(sum->total) >= fabs(x) ? (sum->total - total) + x : (x - total) + sum->total;
  sum->total = total;
}

static double added(const Sum *sum) { return sum->lost && isfinite(sum->lost) ? sum->total + sum->lost : sum->total; }

static double of_pass(State *s, Costs *costs, i64 model, int output, i64 tokens) { /* PassCosts.body, .output */
  Model *m = &costs->models[model];
  double *table = output ? m->output : m->body;
  if (tokens < m->size && table[tokens] == table[tokens]) return table[tokens];
  double seconds = s->r->ask_pass(costs->number, model, output, tokens);
  if (tokens < m->size) table[tokens] = seconds;
  return seconds;
}

static double attention(double kv_s, double query_s, double pair_s, i64 kv, i64 queries, i64 pairs) {
  double memory = kv_s * kv + query_s * queries, compute = pair_s * pairs; /* AttentionLaw.seconds */
  return memory > compute ? memory : compute;
}

static double prompt_pass(State *s, Costs *costs, i64 model, i64 rows, const i64 *tokens, const i64 *starts, int head) {
  Model *m = &costs->models[model]; /* roofline._prompt_pass and ._causal */
  i64 total = 0, cached = 0, pairs = 0, squares = 0;
  for (i64 i = 0; i < rows; i++) {
    total += tokens[i], cached += starts[i];
    pairs += tokens[i] * starts[i], squares += tokens[i] * tokens[i];
  }
  pairs += (squares + total) / 2;
  i64 executed_rows = m->graphs ? power_of_two(rows) : rows;
  i64 executed = m->graphs ? bucket_prompt_tokens(total) : total;
  double seconds = m->overhead_s + of_pass(s, costs, model, 0, executed)
                 + attention(m->prompt_kv_s, m->prompt_query_s, m->prompt_pair_s, cached + total, total, pairs);
  return head ? seconds + of_pass(s, costs, model, 1, executed_rows) : seconds;
}

static double prompts_s(State *s, Costs *costs, i64 model, i64 rows, const i64 *tokens, const i64 *starts, int head) {
  Model *m = &costs->models[model]; /* RooflinePredictor._prompts, executed.in_passes, buckets.prompt_passes */
  i64 total = 0;
  for (i64 i = 0; i < rows; i++) total += tokens[i];
  if (!total) return 0.0;
  if (!m->graphs || total <= CAUSAL_UNIT) return m->operation_s + prompt_pass(s, costs, model, rows, tokens, starts, head);
  Sum sum = {0.0, 0.0};
  i64 *piece = s->b, *from = s->c, n = 0, left = CAUSAL_UNIT;
  for (i64 i = 0; i < rows; i++) {
    i64 more = tokens[i], start = starts[i];
    while (more > 0) {
      i64 now = least(more, left);
      piece[n] = now, from[n++] = start;
      more -= now, start += now, left -= now, total -= now;
      if (left && total) continue;
      add(s, &sum, prompt_pass(s, costs, model, n, piece, from, head));
      n = 0, left = CAUSAL_UNIT;
    }
  }
  return m->operation_s + added(&sum);
}

static double step_s(State *s, Costs *costs, i64 draft, i64 rows, int first) { /* _DraftCosts._step */
  Model *m = &costs->models[1 + draft];
  i64 executed = m->graphs ? bucket_rows(rows) : rows, queries = first ? 2 * executed : executed;
  double seconds = m->overhead_s + of_pass(s, costs, 1 + draft, 0, queries) + of_pass(s, costs, 1 + draft, 1, executed);
  return seconds + m->query_s * queries;
}

static double propose_s(State *s, Costs *costs, i64 draft, i64 rows, const i64 *lengths, const i64 *contexts) {
  Model *m = &costs->models[1 + draft]; /* RooflinePredictor.propose, _DraftCosts.propose and ._unequal */
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
    seconds = step_s(s, costs, draft, rows, 1) + (steps - 1) * step_s(s, costs, draft, rows, 0) + later * grown;
    seconds = seconds + (kv_first + (steps - 1) * later) * all;
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
  double seconds = m->operation_s + m->overhead_s + of_pass(s, costs, 0, 0, executed) + of_pass(s, costs, 0, 1, executed);
  if (s->r->rectangular[p->kind] && m->graphs) kv = bucket_rows(p->rows) * bucket_kv(p->piece);
  double memory = m->kv_s * kv + m->query_s * p->queries, compute = m->pair_s * kv * p->queries / p->rows;
  seconds = seconds + (memory > compute ? memory : compute);
  if (s->r->merged[p->kind] && p->queries > p->real_queries) seconds += p->queries * m->merge_values / m->merge_bandwidth;
  return seconds;
}

static double rounded_up(double x) { return x > 0.0 ? x : 0.0; } /* max(0.0, x) */

static Demand demand_of(State *s, i64 model, i64 passes, double seconds, double found) { /* roofline._load */
  Model *m = &s->r->loads->models[1 + model];
  return (Demand){model, seconds, (double)passes * m->kernels, rounded_up(found - passes * m->overhead_s)};
}

static i64 prompt_passes(Model *m, i64 rows, const i64 *tokens) { /* roofline._prompt_passes */
  i64 total = 0;
  for (i64 i = 0; i < rows; i++) total += tokens[i];
  return m->graphs ? ceil_div(total, CAUSAL_UNIT) : 1;
}

/* --- lanes that share a device: spinsim.costs.contention and spinsim.simulated.lanes ------------------------- */

static double busy(const Demand *d) { return d->seconds > 0 ? fmin(1.0, d->work_s / d->seconds) : 0.0; }

static double kernel_delay(Run *r, const Demand *own, const Demand *other) { /* KernelLaw.delay */
  if (own->seconds <= 0 || other->seconds <= 0) return 0.0;
  double at_work = busy(other), kernel_s = other->kernels ? other->work_s / other->kernels : 0.0;
  double waits_s = fmin(kernel_s, r->wait * rounded_up(kernel_s - r->short_s));
  double gaps = (1.0 - busy(own)) * (r->gap + r->crowd * at_work);
  return gaps + own->kernels / own->seconds * at_work * waits_s;
}

static double delay(Run *r, const Demand *own, const Demand *other) { /* Law.delay: r->law, or Factors' among */
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

static double rate_now(State *s, i64 lane) { /* SharedLane._rate_now */
  double slowest = 0.0;
  for (i64 d = 0; d < s->r->devices; d++)
    if (s->r->lane_devices[lane * s->r->devices + d]) slowest = fmax(slowest, slowdown(s, d, lane));
  return 1.0 / slowest;
}

static const i64 *beside(State *s, i64 lane) { /* SharedLane.neighbours; -1 ends them */
  return s->r->beside + lane * (s->r->lanes + 1);
}

static void set_alarm(State *s, i64 lane, i64 at, int ending) { /* SharedLane._set_alarm */
  s->lanes[lane].alarm = s->numbers;
  s->lanes[lane].ending = ending;
  schedule(s, at, ALARM, lane, NULL);
}

static i64 time_left(State *s, Lane *lane) { /* SharedLane._time_left */
  return most(0, round_ns(s, lane->running->remaining_ns / lane->rate));
}

static void retime(State *s, i64 which, i64 now) { /* SharedLane._retime */
  Lane *lane = &s->lanes[which];
  if (!lane->running) return;
  double rate = rate_now(s, which);
  if (rate == lane->rate) return;
  lane->running->remaining_ns -= (now - lane->updated_ns) * lane->rate;
  lane->updated_ns = now;
  lane->rate = rate;
  set_alarm(s, which, s->now + time_left(s, lane), 1);
}

static void start_next(State *s, i64 which) { /* SharedLane._start_next */
  Lane *lane = &s->lanes[which];
  Operation *job = lane->first;
  if (!job) return;
  i64 start = job->ready_ns;
  if (start <= s->now) start = s->now;
  else
    for (const i64 *other = beside(s, which); *other >= 0; other++)
      if (s->lanes[*other].running || s->lanes[*other].first) {
        set_alarm(s, which, start, 0);
        return;
      }
  lane->first = job->next;
  lane->running = job;
  job->started_ns = lane->updated_ns = start;
  lane->rate = rate_now(s, which);
  set_alarm(s, which, start + time_left(s, lane), 1);
  for (const i64 *other = beside(s, which); *other >= 0; other++) retime(s, *other, start);
}

static void unsettle(State *s, i64 which) { /* SharedLane._unsettle */
  Lane *lane = &s->lanes[which];
  Operation *job = lane->running;
  if (!job || job->started_ns <= s->now) return;
  lane->running = NULL;
  job->next = lane->first;
  if (!lane->first) lane->last = job;
  lane->first = job;
  set_alarm(s, which, job->ready_ns, 0);
}

static void end_job(State *s, i64 which) { /* SharedLane._end */
  Lane *lane = &s->lanes[which];
  Operation *job = lane->running;
  lane->running = NULL;
  start_next(s, which);
  if (!lane->running)
    for (const i64 *other = beside(s, which); *other >= 0; other++) retime(s, *other, s->now);
  job->finished_ns = s->now;
  schedule(s, s->now, OPERATION, 0, job);
}

static void occupy(State *s, i64 which, Operation *job, i64 work_ns) { /* ExclusiveLane.submit, SharedLane.submit */
  Lane *lane = &s->lanes[which];
  if (!lane->shared) {
    job->started_ns = most(lane->free_ns, job->ready_ns);
    lane->free_ns = job->finished_ns = job->started_ns + work_ns;
    schedule(s, job->finished_ns, OPERATION, 0, job);
    return;
  }
  int alone = !lane->running && !lane->first;
  job->remaining_ns = (double)work_ns;
  if (lane->first) lane->last->next = job;
  else lane->first = job;
  lane->last = job;
  for (const i64 *other = beside(s, which); *other >= 0; other++) unsettle(s, *other);
  if (alone) start_next(s, which);
}

/* --- operations: Engine.submit and SimulatedWorld._submit ----------------------------------------------------- */

static Operation *operation(State *s, i64 kind, i64 draft, i64 rows) {
  Operation *job = calloc(1, sizeof(Operation) + rows * sizeof(i64));
  if (!job) { s->r->stop = NO_MEMORY; return NULL; }
  job->kind = kind, job->draft = job->demand.model = draft, job->rows = rows, job->waiter = -1;
  job->after = s->alive;
  if (s->alive) s->alive->before = job;
  return s->alive = job;
}

static void submit(State *s, Operation *job, i64 lane, i64 micro_batch, i64 tokens, double seconds, i64 label) {
  Run *r = s->r;
  i64 noted[] = {lane, job->kind, job->draft, micro_batch, job->rows, tokens, s->now, -1, -1};
  job->record = s->over + append(s, OPERATIONS, 9, noted);
  if (r->noisy) seconds *= r->ask_noise(job->kind);
  job->demand.seconds = seconds;
  r->label_s[label] += seconds;
  if (job->rows >= r->hosts) r->ask_host(job->rows);
  if (r->stop) return;
  double host_s = r->host_s[job->rows];
  i64 host_ns = r->host_ns[job->rows];
  if (s->ended_kind >= 0) {
    double handling_s = r->handle_s[s->ended_kind * (r->batch + 1) + s->ended_rows];
    host_s += handling_s, host_ns += round_ns(s, handling_s * 1e9);
    s->ended_kind = -1;
  }
  r->orchestrator_s += host_s;
  s->host_free_ns = most(s->now + r->hop_ns, s->host_free_ns) + host_ns;
  job->ready_ns = s->host_free_ns + r->hop_ns;
  occupy(s, lane, job, round_ns(s, seconds * 1e9));
}

static void heard_of(State *s, Operation *job) { /* Engine.completed */
  Table *t = &s->r->tables[OPERATIONS];
  put(t, 7, job->record - s->over, job->started_ns);
  put(t, 8, job->record - s->over, job->finished_ns);
  if (job->after) job->after->before = job->before;
  if (job->before) job->before->after = job->after;
  else s->alive = job->after;
  free(job);
}

static double costs_of_prompts(State *s, Operation *job, i64 n, const i64 *tokens, const i64 *starts, i64 *label) {
  Run *r = s->r; /* SimulatedWorld._carry_out and ._demand of Prefill and CatchUp */
  i64 head = job->kind == PREFILL;
  if (r->loads->formula) {
    double found = prompts_s(s, r->loads, 1 + job->draft, n, tokens, starts, head);
    job->demand = demand_of(s, job->draft, prompt_passes(&r->loads->models[1 + job->draft], n, tokens), 0.0, found);
  }
  *label = r->costs->label;
  if (!r->costs->formula) return r->ask_cost(job->kind, job->draft, n, tokens, starts, label);
  return prompts_s(s, r->costs, 1 + job->draft, n, tokens, starts, head);
}

/* --- K/V memory: spinsim.engine.kv and spinsim.engine.draft_caches ------------------------------------------- */

static i64 acquire(Pool *pool, i64 tokens) { /* KvPool.acquire: blocks taken, or -1 */
  if (!pool->keeps) return 0;
  i64 count = pool->full ? 1 : ceil_div(tokens, pool->block_tokens);
  if (count > pool->free_blocks || !pool->free_slots) return -1;
  pool->free_blocks -= count, pool->free_slots--;
  return count;
}

static i64 grow(Pool *pool, i64 held, i64 tokens) { /* KvPool.grow: blocks held then, or -1 */
  if (pool->full || !pool->keeps) return held;
  i64 wanted = ceil_div(tokens, pool->block_tokens);
  if (wanted <= held) return held;
  if (wanted - held > pool->free_blocks) return -1;
  pool->free_blocks -= wanted - held;
  return wanted;
}

static void release(Pool *pool, i64 held) { /* KvPool.release */
  if (pool->keeps) pool->free_blocks += held, pool->free_slots++;
}

static int in_flight(State *s, i64 id) { return s->r->place[id] == CHUNK || s->r->place[id] == ROUND; }

static void forget_use(State *s, i64 id, i64 draft) { /* del DraftCaches._recency[draft][id] */
  i64 k = s->r->drafts;
  i32 older = s->older[id * k + draft], newer = s->newer[id * k + draft];
  if (older >= 0) s->newer[older * k + draft] = newer;
  else s->oldest[draft] = newer;
  if (newer >= 0) s->older[newer * k + draft] = older;
  else s->newest[draft] = older;
}

static void note_use(State *s, i64 id, i64 draft) { /* DraftCaches._recency[draft][id] = None */
  i64 k = s->r->drafts;
  s->older[id * k + draft] = s->newest[draft], s->newer[id * k + draft] = -1;
  if (s->newest[draft] >= 0) s->newer[s->newest[draft] * k + draft] = id;
  else s->oldest[draft] = id;
  s->newest[draft] = id;
}

static void drop(State *s, i64 id, i64 draft) { /* DraftCaches.drop; held: -1 where there is no slot */
  i64 at = id * s->r->drafts + draft;
  if (s->held[at] < 0) return;
  release(&s->r->pools[draft], s->held[at]);
  s->held[at] = -1;
  s->r->cached[at] = 0;
  forget_use(s, id, draft);
}

static int evict_one(State *s, i64 draft, i64 keep) { /* DraftCaches._evict_one */
  i64 k = s->r->drafts;
  for (i64 id = s->oldest[draft]; id >= 0; id = s->newer[id * k + draft])
    if (id != keep && !in_flight(s, id) && !s->background[id * k + draft]) { drop(s, id, draft); return 1; }
  return 0;
}

static int make_place(State *s, i64 id, i64 draft, i64 tokens) { /* DraftCaches.place: is there room? */
  i64 at = id * s->r->drafts + draft, blocks;
  Pool *pool = &s->r->pools[draft];
  if (s->held[at] >= 0) {
    forget_use(s, id, draft);
    note_use(s, id, draft);
    while ((blocks = grow(pool, s->held[at], tokens)) < 0)
      if (!evict_one(s, draft, id)) return 0;
    s->held[at] = blocks;
    return 1;
  }
  while ((blocks = acquire(pool, tokens)) < 0)
    if (!evict_one(s, draft, id)) return 0;
  s->held[at] = blocks;
  s->r->cached[at] = 0;
  note_use(s, id, draft);
  return 1;
}

/* --- where requests stand: spinsim.engine.state and spinsim.engine.engine ------------------------------------ */

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

static int earlier(const Waiter *a, const Waiter *b) {
  for (int i = 0; i < 3; i++)
    if (a->keys[i] != b->keys[i]) return a->keys[i] < b->keys[i];
  return a->id < b->id;
}

static void wait_for_admission(State *s, i64 id, i64 preempted) { /* heappush(EngineState._waiting, ...) */
  Run *r = s->r;
  Waiter waiter = {{1, r->arrived_ns[id], 0}, id};
  if (preempted) waiter = (Waiter){{0, s->admission[id], 0}, id};
  else if (r->admission == SECOND) waiter = (Waiter){{1, r->prompt[id], r->arrived_ns[id]}, id};
  i64 i = s->n_waiting++;
  for (; i && earlier(&waiter, &s->waiting[(i - 1) / 2]); i = (i - 1) / 2) s->waiting[i] = s->waiting[(i - 1) / 2];
  s->waiting[i] = waiter;
}

static void first_is_admitted(State *s) { /* heappop(EngineState._waiting) */
  Waiter last = s->waiting[--s->n_waiting];
  i64 i = 0, child;
  while ((child = 2 * i + 1) < s->n_waiting) {
    if (child + 1 < s->n_waiting && earlier(&s->waiting[child + 1], &s->waiting[child])) child++;
    if (!earlier(&s->waiting[child], &last)) break;
    s->waiting[i] = s->waiting[child];
    i = child;
  }
  s->waiting[i] = last;
}

static void ring_for_prompts(State *s) { /* Engine.ring_for_prompts */
  if (s->bell) { s->bell = 0; schedule(s, s->now, BELL, 0, NULL); }
}

static void admit(State *s) { /* EngineState.admit and Engine.admit */
  Run *r = s->r;
  i64 before = s->admitted;
  s->is_short = 0;
  while (s->n_waiting && s->admitted < r->batch) {
    i64 id = s->waiting[0].id;
    if (r->place[id] == ENDED) { first_is_admitted(s); continue; }
    i64 blocks = acquire(r->target_pool, least(s->goal[id] + 1 + r->max_length, r->context));
    if (blocks < 0) { s->is_short = 1; break; }
    first_is_admitted(s);
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

static void arrive(State *s, i64 id);

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
  if (r->listening) r->forget(id);
  if (r->ended % r->report_every == 0 || r->ended == r->requests) r->report(r->ended);
  if (r->ended == r->requests) {
    r->ended_ns = s->now;
    schedule(s, s->now, END, 0, NULL);
  } else if (r->clients && s->next < r->requests) {
    arrive(s, s->next++); /* Engine.send_next */
  }
}

static void finish(State *s, i64 id, i64 status) { /* Engine.finish */
  close_request(s, id, status);
  admit(s);
}

static void arrive(State *s, i64 id) { /* Engine.arrive */
  Run *r = s->r;
  r->arrived++;
  r->arrived_ns[id] = r->last_arrival_ns = s->now;
  r->place[id] = WAITING;
  s->goal[id] = r->prompt[id];
  if (r->prompt[id] + r->output[id] > r->context) { close_request(s, id, REJECTED); return; }
  if (r->patience_ns[id] >= 0) schedule(s, s->now + r->patience_ns[id], PATIENCE, id, NULL);
  wait_for_admission(s, id, 0);
  admit(s);
}

static void lose_patience(State *s, i64 id) { /* Engine._lose_patience, EngineState.give_up */
  if (s->r->place[id] == ENDED) return;
  s->cancelled[id] = s->impatient = 1;
  if (s->r->place[id] == WAITING) { close_request(s, id, CANCELLED); note_load(s); }
}

static void arrivals(State *s) { /* processes._arrivals */
  Run *r = s->r;
  if (r->clients) {
    for (i64 n = least(r->clients, r->requests); n > 0 && s->next < r->requests; n--) arrive(s, s->next++);
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

/* --- prompts: spinsim.engine.prefill -------------------------------------------------------------------------- */

static void next_chunk(State *s) { /* prefill.prefill up to its wait, .next_chunk and EngineState.take_chunk */
  Run *r = s->r;
  if (!s->prompts.rows) { s->bell = 1; return; }
  i64 budget = r->chunk, n = 0, total = 0, label = 0, *starts = s->a;
  for (i64 i = 0; i < s->prompts.rows && (!i || budget > 0); i++, n++) {
    i64 id = s->prompts.at[i], tokens = least(s->goal[id] - s->prefilled[id], budget);
    r->place[id] = CHUNK;
    starts[n] = s->prefilled[id];
    s->chunk_tokens[n] = tokens;
    s->chunk_last[n] = s->prefilled[id] + tokens == s->goal[id] && r->generated[id] == 0;
    budget -= tokens, total += tokens;
  }
  if (!(s->chunk = operation(s, PREFILL, -1, n))) return;
  memcpy(s->chunk->whom, s->prompts.at, n * sizeof(i64));
  double seconds = costs_of_prompts(s, s->chunk, n, s->chunk_tokens, starts, &label);
  submit(s, s->chunk, r->target_lane, -1, total, seconds, label);
}

static void commit_chunk(State *s, Operation *job) { /* prefill.commit_chunk and EngineState.chunk_done */
  Run *r = s->r;
  i64 n = job->rows, going_on = 0, through = 0, *who = s->b, *row = s->c;
  heard_of(s, job);
  for (i64 i = 0; i < n; i++) {
    i64 id = s->prompts.at[i];
    s->prefilled[id] += s->chunk_tokens[i];
    if (s->cancelled[id] || s->prefilled[id] == s->goal[id]) { row[through] = i, who[through++] = id; continue; }
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

/* --- SPIN's selector: spinsim.policies.selectors.spin and spinsim.policies.statistics -------------------------- */

static double *stats_of(State *s, i64 id) { /* Statistics.of: gains, costs and pulls by arm, NO_DRAFT's the last */
  i64 k = s->r->arms;
  if (s->stats[id]) return s->stats[id];
  double *stats = s->stats[id] = calloc(3 * k, sizeof(double));
  if (!stats) { s->r->stop = NO_MEMORY; return s->pool_gain; }
  for (i64 arm = 0; arm < k; arm++) stats[k + arm] = 1e-30;
  s->stat_rounds[id] = 0;
  return stats;
}

static double mean_of(State *s, const double *stats, i64 arm) { /* Statistics.means */
  i64 k = s->r->arms;
  if (!s->r->weight) return stats[arm] / stats[k + arm];
  return (stats[arm] + s->prior_gain[arm]) / (stats[k + arm] + s->prior_cost[arm]);
}

static void spin_assign(State *s, MicroBatch *m) { /* Spin.assign, ._least_pulled and ._gains */
  Run *r = s->r;
  i64 k = r->arms;
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], t, best = -1, last = r->last_draft[id];
    double *stats = stats_of(s, id), *pulls = stats + 2 * k, fewest = pulls[0], top = 0.0;
    for (i64 arm = 1; arm < k; arm++) fewest = fmin(fewest, pulls[arm]);
    t = s->stat_rounds[id];
    int exploring = fewest < (t < 1024 ? r->wanted[t] : r->explore * log(2.0 + t));
    for (i64 arm = 0; arm < k; arm++) {
      if (exploring && pulls[arm] != fewest) continue;
      if (exploring && !r->weight) { best = arm; break; }
      double mean = mean_of(s, stats, arm);
      i64 draft = r->allow_none && arm == k - 1 ? NO_DRAFT : arm;
      if (!exploring && r->stay > 1.0 && draft == last && pulls[arm]) mean *= r->stay;
      if (best < 0 || mean > top) best = arm, top = mean;
    }
    m->draft[i] = r->allow_none && best == k - 1 ? NO_DRAFT : best;
  }
}

static void spin_observe(State *s, MicroBatch *m, double round_s) { /* Reward.of, Statistics.add and ._pool */
  Run *r = s->r;
  i64 k = r->arms;
  for (i64 i = 0; i < m->rows; i++) {
    i64 arm = m->draft[i] < 0 ? k - 1 : m->draft[i];
    if (m->draft[i] < 0 && !r->allow_none) continue; /* every draft was full */
    double gain = r->reward == FIRST ? m->accepted[i] : m->committed[i], *stats = stats_of(s, m->id[i]);
    double cost = r->reward == FIRST ? fmax(m->draft_s[i], 1e-9) : r->reward == SECOND ? 1.0 : fmax(round_s, 1e-9);
    s->stat_rounds[m->id[i]]++;
    stats[arm] += gain, stats[k + arm] += cost, stats[2 * k + arm] += 1;
    if (!r->weight) continue;
    s->pool_gain[arm] += gain, s->pool_cost[arm] += cost, s->pool_pulls[arm] += 1;
    double scale = (r->weight < s->pool_pulls[arm] ? r->weight : s->pool_pulls[arm]) / s->pool_pulls[arm];
    s->prior_gain[arm] = scale * s->pool_gain[arm];
    s->prior_cost[arm] = scale * s->pool_cost[arm];
  }
}

/* --- drafting: spinsim.engine.drafting ------------------------------------------------------------------------ */

static void submit_catch_up(State *s, i64 index, i64 draft, i64 n, const i64 *who, const i64 *tokens, const i64 *starts) {
  i64 total = 0, label = 0; /* drafting._submit_catch_up */
  Operation *job = operation(s, CATCH_UP, draft, n);
  if (!job) return;
  for (i64 i = 0; i < n; i++) total += tokens[i], job->whom[i] = who[i];
  double seconds = costs_of_prompts(s, job, n, tokens, starts, &label);
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
    if (!--s->background[id * s->r->drafts + job->draft] && s->r->finished_ns[id] >= 0) drop(s, id, job->draft);
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
    if (n) submit_catch_up(s, index, draft, n, who, tokens, starts);
  }
}

static void propose(State *s, MicroBatch *m, i64 index, i64 draft, i64 first) { /* the second half of .speculate */
  Run *r = s->r;
  i64 n = 0, behind = 0, longest = 0, label = r->costs->label, *lengths = s->a, *contexts = s->b;
  i64 *who = m->accepted, *starts = m->committed; /* not in use yet */
  for (i64 i = first; i < m->rows; i++) {
    if (m->draft[i] != draft || !m->catch_up[i]) continue;
    who[behind] = m->id[i], s->a[behind] = m->catch_up[i];
    starts[behind++] = r->cached[m->id[i] * r->drafts + draft] - m->catch_up[i];
  }
  if (behind) submit_catch_up(s, index, draft, behind, who, s->a, starts);
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
    job->demand = demand_of(s, draft, longest, 0.0, propose_s(s, r->loads, draft, n, lengths, contexts));
  double seconds = r->costs->formula ? propose_s(s, r->costs, draft, n, lengths, contexts)
                                     : r->ask_cost(PROPOSE, draft, n, lengths, contexts, &label);
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

/* --- memory that contexts grow into: spinsim.engine.preemption ------------------------------------------------ */

static void put_back(State *s, i64 rows, const i64 *who, int first) { /* EngineState.put_back */
  i64 *ready = s->ready.at;
  if (first) memmove(ready + rows, ready, s->ready.rows * sizeof(i64));
  memcpy(first ? ready : ready + s->ready.rows, who, rows * sizeof(i64));
  for (i64 i = 0; i < rows; i++) s->r->place[who[i]] = READY;
  s->in_rounds -= rows;
  s->ready.rows += rows;
}

static i64 latest_idle(State *s, MicroBatch *m, i64 after) { /* preemption._latest_idle; -1: nobody */
  i64 latest = -1, at = after, id;
  for (i64 i = 0; i < m->rows; i++)
    if (id = m->id[i], s->r->place[id] != WAITING && !s->kept[id] && s->admission[id] > at) at = s->admission[latest = id];
  for (i64 i = 0; i < s->ready.rows; i++)
    if (id = s->ready.at[i], s->admission[id] > at) at = s->admission[latest = id];
  for (i64 i = 0; i < s->prompts.rows; i++)
    if (id = s->prompts.at[i], !in_flight(s, id) && s->admission[id] > at) at = s->admission[latest = id];
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

/* --- rounds: spinsim.engine.rounds ---------------------------------------------------------------------------- */

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
  if (r->packing == ASKED) r->plan(m->rows, kv, queries, &m->packing);
}

static void verify(State *s, MicroBatch *m, i64 index) { /* the verification of rounds.play_round */
  Run *r = s->r;
  i64 label = r->costs->label, away = 0, drafted = 0, ignored;
  Operation *job = operation(s, VERIFY, -1, m->rows);
  if (!job) return;
  m->verification = job;
  job->waiter = index;
  for (i64 i = 0; i < m->rows; i++) {
    i64 id = m->id[i], draft = m->draft[i], at = id * r->drafts + draft;
    if (draft >= 0 && !r->runs[at]) r->ask_runs(id, draft);
    if (r->stop) return;
    m->accepted[i] = draft >= 0 ? least(r->runs[at][m->position[i]], m->length[i]) : 0; /* verdicts.accepted */
    away |= r->remote[draft < 0 ? r->drafts : draft];
    drafted += m->length[i];
  }
  if (r->loads->formula)
    job->demand = demand_of(s, -1, 1, 0.0, verify_s(s, r->loads, &m->packing));
  double seconds = r->costs->formula ? verify_s(s, r->costs, &m->packing)
                                     : r->ask_cost(VERIFY, -1, m->rows, (i64 *)&m->packing, NULL, &label);
  if (away && !r->costs->formula) seconds += r->ask_cost(TRANSFER, -1, m->rows, &drafted, NULL, &ignored);
  else if (away && r->costs->linked && drafted) /* RooflinePredictor.transfer, Link.seconds */
    seconds += r->costs->link_latency + (double)(drafted * r->costs->link_bytes) / r->costs->link_bandwidth;
  submit(s, job, r->target_lane, index, m->packing.queries, seconds, label);
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

static int drafted(State *s, MicroBatch *m, i64 index) { /* the proposals of rounds.play_round: are all there? */
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
  i64 header[] = {index, m->depth, m->rows, m->assigned_ns, m->drafted_ns, m->verification->started_ns, s->now,
                  p->rows, p->piece, p->queries, p->kv, p->real_queries, p->real_kv, p->kind};
  append(s, ROUNDS, 14, header);
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
    r->observe(rows, m->id, m->draft, m->length, m->accepted, m->committed, m->draft_s, round_s);
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
    m->state = RESTING;
  }
  if (m->state == RESTING) {
    if (!compose(s, m, index)) { park(s, m, 1); return; }
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
  m->state = VERIFYING;
}

/* --- a whole run ---------------------------------------------------------------------------------------------- */

static void completed(State *s, Operation *job) { /* an operation's event: SimulatedWorld._end, then who waits */
  job->done = 1;
  if (s->r->handles) s->ended_kind = job->kind, s->ended_rows = job->rows;
  if (job->kind == CATCH_UP) caught_up(s, job);
  else if (job->kind == PREFILL) { commit_chunk(s, job); next_chunk(s); }
  else if (job->waiter >= 0) micro_batch(s, job->waiter);
}

static void handle(State *s, const Event *event) {
  Lane *lane = &s->lanes[event->which];
  switch (event->kind) {
    case ARRIVAL: arrivals(s); break;
    case BELL: next_chunk(s); break;
    case WAKE: micro_batch(s, event->which); break;
    case OPERATION: completed(s, event->operation); break;
    case PATIENCE: lose_patience(s, event->which); break;
    case ALARM:
      if (event->number != lane->alarm) break; /* another one counts now */
      if (lane->ending) end_job(s, event->which);
      else start_next(s, event->which);
  }
}

static void hand_over_full_tables(State *s) {
  Table *tables = s->r->tables, *t = &tables[OPERATIONS];
  if (tables[ROUNDS].rows >= BLOCK) {
    hand_over(s, ROUNDS, tables[ROUNDS].rows);
    hand_over(s, ROWS, tables[ROWS].rows);
  }
  if (tables[LOADS].rows >= BLOCK) hand_over(s, LOADS, tables[LOADS].rows - 1); /* the last may still change */
  if (t->rows >= s->many) { /* all before the first that is in flight */
    i64 rows = t->rows;
    for (Operation *job = s->alive; job; job = job->after) rows = least(rows, job->record - s->over);
    s->over += rows;
    hand_over(s, OPERATIONS, rows);
    s->many = 2 * t->rows + BLOCK;
  }
}

static void prepare(State *s) {
  Run *r = s->r;
  i64 n = r->requests, k = r->drafts, b = r->batch + 1;
  i64 **by_request[] = {&s->goal, &s->prefilled, &s->admission, &s->target_held};
  i64 **by_row[] = {&s->prompts.at, &s->ready.at, &s->chunk_tokens, &s->chunk_last, &s->a, &s->b, &s->c, &s->slots_back};
  double **by_arm[] = {&s->pool_gain, &s->pool_cost, &s->pool_pulls, &s->prior_gain, &s->prior_cost};
  i32 **by_draft[] = {&s->held, &s->older, &s->newer, &s->background};
  for (int i = 0; i < 4; i++) *by_request[i] = room(s, n, sizeof(i64));
  for (int i = 0; i < 8; i++) *by_row[i] = room(s, b, sizeof(i64));
  for (int i = 0; i < 5; i++) *by_arm[i] = room(s, 3 * r->arms, sizeof(double));
  for (int i = 0; i < 4; i++) *by_draft[i] = room(s, n * k, sizeof(i32));
  s->oldest = room(s, k, sizeof(i64)), s->newest = room(s, k, sizeof(i64));
  s->cancelled = room(s, n, 1), s->kept = room(s, n, 1);
  s->waiting = room(s, n + b, sizeof(Waiter));
  s->stats = room(s, n, sizeof(double *)), s->stat_rounds = room(s, r->selector == SECOND ? n : 0, sizeof(i64));
  s->lanes = room(s, r->lanes, sizeof(Lane)), s->batches = room(s, r->max_depth, sizeof(MicroBatch));
  s->room_events = 1024;
  s->events = malloc(s->room_events * sizeof(Event));
  if (!s->events) r->stop = NO_MEMORY;
  for (i64 i = 0; i < r->max_depth && !r->stop; i++) {
    MicroBatch *m = &s->batches[i];
    i64 **rows[] = {&m->id, &m->position, &m->context, &m->draft, &m->length, &m->accepted, &m->committed, &m->catch_up};
    i64 *all = room(s, 8 * b, sizeof(i64));
    for (int c = 0; c < 8; c++) *rows[c] = all + c * b;
    m->draft_s = room(s, b, sizeof(double));
    m->proposals = room(s, k + 1, sizeof(Operation *));
  }
  if (r->stop) return;
  for (i64 i = 0; i < n; i++) s->admission[i] = -1;
  for (i64 i = 0; i < n * k; i++) s->held[i] = -1;
  for (i64 i = 0; i < k; i++) s->oldest[i] = s->newest[i] = -1;
  for (i64 i = 0; i < r->arms; i++) s->pool_cost[i] = s->prior_cost[i] = 1e-30;
  for (i64 i = 0; i < r->lanes; i++) s->lanes[i].shared = *beside(s, i) >= 0, s->lanes[i].alarm = -1;
  s->ended_kind = -1;
  s->many = BLOCK;
}

static void clean_up(State *s) {
  while (s->alive) { Operation *job = s->alive; s->alive = job->after; free(job); }
  for (i64 i = 0; s->stats && i < s->r->requests; i++) free(s->stats[i]);
  while (s->n_memory) free(s->memory[--s->n_memory]);
  free(s->events);
}

i64 play(Run *r) { /* processes.start, then env.run(until=engine.done) */
  State state = {.r = r}, *s = &state;
  r->stop = DONE;
  prepare(s);
  if (!r->stop) next_chunk(s);
  for (i64 i = 0; i < r->max_depth && !r->stop; i++) micro_batch(s, i);
  if (!r->stop) arrivals(s);
  for (i64 n = 1; !r->stop; n++) {
    if (!s->n_events) { r->stop = STUCK; break; }
    Event event = next_event(s);
    r->now_ns = s->now = event.at;
    if (event.kind == END) break;
    handle(s, &event);
    hand_over_full_tables(s);
    if (s->now > (i64)4e18) r->stop = TOO_LONG;
    if (n % POLL == 0) r->report(0);
  }
  if (!r->stop || r->stop == STOPPED)
    for (i64 t = 0; t < TABLES; t++) r->flush(t, r->tables[t].rows);
  for (i64 t = 0; t < TABLES; t++)
    for (i64 c = 0; c < r->tables[t].columns; c++) free(r->tables[t].column[c]);
  clean_up(s);
  return r->stop;
}

i64 layout(i64 which) { /* sizes, for whoever declares the same in another language */
  i64 sizes[] = {sizeof(Table), sizeof(Pool), sizeof(Model), sizeof(Costs), sizeof(Packing), sizeof(Run)};
  return which < 6 ? sizes[which] : 0;
}
