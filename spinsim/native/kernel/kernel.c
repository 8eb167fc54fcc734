/* A whole run in predicted time: the same events in the same order, and the same sums in the same order, as
 * in the Python engine. Every function names the one that it repeats, and that one is the truth.
 *
 * Requests are numbered, and what is known of them is in arrays. Drafts are numbered from 0; NO_DRAFT is -1,
 * and so is the target where a model is meant. Time is in integer nanoseconds. What is not repeated here is
 * asked of Python, by the callbacks at the end of Run. One file a room, in the order in which they are read.
 * Compile without contraction of floating-point operations. */
#include "run.h"
#include "tables.h"
#include "costs.h"
#include "profiled.h"
#include "lanes.h"
#include "memory.h"
#include "requests.h"
#include "spin.h"
#include "drafting.h"
#include "decomposed.h"
#include "rounds.h"

/* an operation's event: SimulatedWorld._end, then who waits */
static void completed(State *s, Operation *job) {
  job->done = 1;
  if (s->r->handles) s->ended_kind = job->kind, s->ended_rows = job->rows;
  if (job->kind == CATCH_UP) caught_up(s, job);
  else if (job->kind == PREFILL) {
    i64 rows = job->rows;
    heard_of(s, job);
    commit_chunk(s, rows);
    prefill(s);
  }
  else if (job->waiter >= 0) micro_batch(s, job->waiter);
}

static void handle(State *s, const Entry *event) {
  Lane *lane = &s->lanes[event->which];
  switch (event->kind) {
    case ARRIVAL: arrivals(s); break;
    case BELL: prefill(s); break;
    case WAKE: micro_batch(s, event->which); break;
    case OPERATION: completed(s, event->operation); break;
    case PATIENCE: lose_patience(s, event->which); break;
    case ALARM:
      if (event->keys[1] != lane->alarm) break; /* another one counts now */
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
  if (tables[LOADS].rows >= BLOCK) hand_over(s, LOADS, tables[LOADS].rows - 1); /* the last may change */
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
  i64 **by_row[] = {&s->prompts.at, &s->ready.at, &s->chunk_tokens, &s->chunk_starts, &s->chunk_last,
                    &s->a, &s->b, &s->c, &s->slots_back};
  double **by_arm[] = {&s->pool_gain, &s->pool_cost, &s->pool_pulls, &s->prior_gain, &s->prior_cost};
  i32 **by_draft[] = {&s->held, &s->older, &s->newer, &s->background};
  for (int i = 0; i < 4; i++) *by_request[i] = room(s, n, sizeof(i64));
  for (int i = 0; i < 9; i++) *by_row[i] = room(s, b, sizeof(i64));
  for (int i = 0; i < 5; i++) *by_arm[i] = room(s, 3 * r->arms, sizeof(double));
  for (int i = 0; i < 4; i++) *by_draft[i] = room(s, n * k, sizeof(i32));
  s->oldest = room(s, k, sizeof(i64)), s->newest = room(s, k, sizeof(i64));
  s->cancelled = room(s, n, 1), s->kept = room(s, n, 1);
  s->stats = room(s, n, sizeof(double *));
  s->stat_rounds = room(s, r->selector == SECOND ? n : 0, sizeof(i64));
  s->lanes = room(s, r->lanes, sizeof(Lane)), s->batches = room(s, r->max_depth, sizeof(MicroBatch));
  for (i64 i = 0; i < r->max_depth && !r->stop; i++) {
    MicroBatch *m = &s->batches[i];
    i64 **rows[] = {&m->id, &m->position, &m->context, &m->draft,
                    &m->length, &m->accepted, &m->committed, &m->catch_up};
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
  free(s->events.entries);
  free(s->waiting.entries);
}

i64 play(Run *r) { /* processes.start, then env.run(until=engine.done) */
  State state = {.r = r}, *s = &state;
  r->stop = DONE;
  prepare(s);
  if (!r->stop) prefill(s);
  for (i64 i = 0; i < r->max_depth && !r->stop; i++) micro_batch(s, i);
  if (!r->stop) arrivals(s);
  for (i64 n = 1; !r->stop; n++) {
    if (!s->events.rows) { r->stop = STUCK; break; }
    Entry event = pop(&s->events);
    r->now_ns = s->now = event.keys[0];
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
  i64 sizes[] = {sizeof(Table), sizeof(Pool), sizeof(Model), sizeof(Costs), sizeof(Packing),
                 sizeof(Fit), sizeof(Profiled), sizeof(Cell), sizeof(Decompositions), sizeof(Run)};
  return which < 10 ? sizes[which] : 0;
}
