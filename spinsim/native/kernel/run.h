/* What Python hands over, and the state of a run. spinsim.native.layout declares the first half once more. */
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

#define PROMPT_TOKENS 2048 /* of one captured pass: spinsim.buckets */
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
  double row_s, merge_values, merge_bandwidth;
  i64 graphs, size;
  double *body, *output; /* seconds by tokens below ``size``; NaN: nobody asked yet */
} Model;

typedef struct { /* spinsim.costs.roofline.RooflinePredictor; models: the target's, then the drafts' */
  i64 number, formula, label, linked, link_bytes; /* formula: ASKED, FIRST: this, SECOND: a profile */
  double link_latency, link_bandwidth;
  Model *models;
} Costs;

#define EDGE 1.05     /* spinsim.costs.profiled.predictors */
#define LONG_QUERY 32 /* spinsim.buckets */
#define LONG_S 15e-6  /* spinsim.costs.contention */
#define CELLS 1024    /* of what a fit keeps */
enum { MEASURED, INTERPOLATED }; /* spinsim.costs.base.LABELS */
enum { FOR_NOTHING, FOR_PROMPTS, FOR_ROWS }; /* what a law's passes wait for: laws.waited_for */

typedef struct { double tokens, head; const double *values; } Cell;
typedef struct { double rows, tokens, head, queries, kv, pairs, longest; } Shape; /* executed.PassShape */

typedef struct { /* spinsim.costs.profiled.predictors.ProfiledPass, and its Law or MonotoneTable */
  i64 number, known, points, is_law, waits, knots;
  double min_tokens, max_tokens, min_kv, max_kv, max_context, coefficients[6], kv_s, query_s, pair_s;
  const double *measured, *knot; /* measured: a shape's first six numbers and its seconds, for each point */
  Cell *cells;
} Fit;

typedef struct { /* spinsim.costs.profiled.predictors.ProfilePredictor */
  i64 prompt_graphs;
  Fit *prefill, *verify, *catch_up, *first, *later; /* verify: by kind of packing; the last three by draft */
  const i64 *step_rows, *verify_tokens; /* executed ones: [draft * (batch + 1) + rows]; by queries */
  double *transfer_s;                   /* by tokens; NaN: nobody asked yet */
} Profiled;

#define DECOMPOSITIONS 16384 /* that are remembered */

typedef struct { /* spinsim.packings.decomposed.Decomposed */
  i64 align, shortest, longest; /* longest: of the pieces that are marked */
  uint8_t *marked, *key, *keys; /* by tokens; a batch's sorted levels; those of what is known */
  i64 *known;
} Decompositions;

typedef struct { i64 kind, rows, piece, queries, kv, real_queries, real_kv; } Packing;

typedef struct Run {
  /* the workload */
  i64 requests, clients; /* clients: of a closed loop, else 0 */
  const i64 *arrival_ns, *prompt, *patience_ns; /* patience: -1 without end */
  i64 *output;
  /* spinsim.engine.settings */
  i64 drafts, lanes, devices, target_lane, batch, context, chunk, max_length, overlapped, grow;
  i64 prompts_beside; /* merged_prefill: prompts' chunks go into the passes that verify */
  const i64 *draft_lane, *remote; /* remote: its last entry is NO_DRAFT's */
  const i64 *lane_devices;        /* [lane * devices + device]: 1 where the lane works there */
  const i64 *beside;              /* [lane * (lanes + 1) + n]: the lane's n-th neighbour; -1 ends them */
  Pool *target_pool, *pools;
  /* costs */
  Decompositions *decompositions; /* where packing is THIRD */
  Profiled *profiled;   /* where costs->formula is SECOND */
  Costs *costs, *loads; /* loads: what operations ask of a shared device; formula 0 where nobody asks */
  i64 law, among, compensated; /* of contention; compensated: how Python adds floats */
  double gap, crowd, short_s, wait;
  double *factors; /* [2 * (draft + 1) + of the target]; NaN: nobody asked yet */
  double *host_s, *handle_s; /* by rows; handle_s: [kind * (batch + 1) + rows] */
  i64 *host_ns, hosts, handles, noisy, hop_ns, wake_ns;
  /* policies */
  i64 admission, selector, length, packing, pipeline, composition, depth, max_depth, listening, thinking;
  i64 fixed_draft, fixed_capacity, arms, allow_none, reward, packing_kind;
  const i64 *lengths; /* by draft; the last is NO_DRAFT's */
  const i64 *rectangular, *merged; /* by kind of packing */
  double explore, weight, stay;
  const double *wanted;
  /* acceptance: [request * drafts + draft]; NULL: nobody asked yet */
  const uint16_t **runs;
  /* requests, as they are and as they are recorded */
  i64 *arrived_ns, *admitted_ns, *first_token_ns, *finished_ns;
  i32 *generated, *rounds, *drafted, *accepted, *switches, *catch_up, *preemptions, *last_draft, *slot;
  i32 *cached; /* [request * drafts + draft] */
  int8_t *status, *place;
  /* what comes out */
  Table tables[TABLES];
  double label_s[8], orchestrator_s;
  i64 report_every, arrived, ended, ended_ns, last_arrival_ns, now_ns, stop;
  /* what Python is asked; a callback that fails sets ``stop`` */
  double (*ask_pass)(i64 costs, i64 model, i64 output, i64 tokens);
  double (*ask_cost)(i64 kind, i64 draft, i64 rows, const i64 *first, const i64 *second, i64 *label);
  const double *(*ask_fit)(i64 fit, double tokens, double head);
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
                  const i64 *committed, const double *draft_s, double round_s, double verify_s);
  void (*think)(void);
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
  i64 parked, rows, awaited, depth, assigned_ns, drafted_ns, verify_ns;
  i64 *id, *position, *context, *draft, *length, *accepted, *committed, *catch_up;
  double *draft_s;
  Operation **proposals, *verification;
  Packing packing;
} MicroBatch;

enum { ARRIVAL, BELL, WAKE, ALARM, OPERATION, PATIENCE, END }; /* what may be due */
typedef struct { i64 keys[4], kind, which; Operation *operation; } Entry; /* of a heap: least keys first */
typedef struct { i64 rows, room; Entry *entries; } Heap;
typedef struct { i64 rows, *at; } List;

typedef struct {
  Run *r;
  i64 now, numbers, over, many; /* over: operations handed over; many: enough to hand over again */
  Heap events, waiting;
  List prompts, ready, spare; /* prompts: those in a chunk come first */
  i64 admitted, admissions, in_rounds, impatient, is_short, next, bell;
  i64 host_free_ns, ended_kind, ended_rows, woken; /* woken: lanes' threads, by what ended last */
  i64 *goal, *prefilled, *admission; int8_t *cancelled, *kept;
  i32 *held, *older, *newer, *background; i64 *oldest, *newest; /* by [request * drafts + draft]; by draft */
  i64 *target_held, *slots_back, n_slots_back, untouched_slots;
  Lane *lanes; MicroBatch *batches;
  Operation *alive;
  i64 *chunk_tokens, *chunk_starts, *chunk_last, beside; /* beside: prompts in the pass that verifies */
  double **stats; i64 *stat_rounds; double *pool_gain, *pool_cost, *pool_pulls, *prior_gain, *prior_cost;
  i64 *a, *b, *c; /* scratch, as long as a batch or as what is ready */
  void *memory[96]; i64 n_memory;
} State;
