/* Lanes and what is submitted to them: spinsim.simulated.lanes and .world, Engine.submit. */
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

/* ExclusiveLane.submit, SharedLane.submit */
static void occupy(State *s, i64 which, Operation *job, i64 work_ns) {
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

static Operation *operation(State *s, i64 kind, i64 draft, i64 rows) {
  Operation *job = calloc(1, sizeof(Operation) + rows * sizeof(i64));
  if (!job) { s->r->stop = NO_MEMORY; return NULL; }
  job->kind = kind, job->draft = job->demand.model = draft, job->rows = rows, job->waiter = -1;
  job->after = s->alive;
  if (s->alive) s->alive->before = job;
  return s->alive = job;
}

/* Engine.submit and SimulatedWorld._submit */
static void submit(State *s, Operation *job, i64 lane, i64 index, i64 tokens, double seconds, i64 label) {
  Run *r = s->r;
  i64 noted[] = {lane, job->kind, job->draft, index, job->rows, tokens, s->now, -1, -1};
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
    s->ended_kind = -1, s->woken = 0;
  }
  r->orchestrator_s += host_s;
  s->host_free_ns = most(s->now + r->hop_ns, s->host_free_ns) + host_ns;
  job->ready_ns = s->host_free_ns + r->hop_ns + s->woken++ * r->wake_ns;
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

/* Predictor.prefill of the target, where ``draft`` is none, or .catch_up */
static double price_of_prompts(State *s, i64 draft, Prompts p, i64 *label) {
  Run *r = s->r;
  int head = draft < 0;
  double seconds = -1;
  *label = r->costs->label;
  if (r->costs->formula == FIRST) return prompts_s(s, r->costs, 1 + draft, p, head);
  if (r->costs->formula == SECOND) {
    Fit *fit = head ? r->profiled->prefill : &r->profiled->catch_up[draft];
    seconds = profiled_prompts_s(s, fit, p, head, label);
  }
  if (seconds >= 0) return seconds;
  return r->ask_cost(head ? PREFILL : CATCH_UP, draft, p.rows, p.tokens, p.starts, label);
}

/* SimulatedWorld._carry_out and ._demand of Prefill and CatchUp */
static double costs_of_prompts(State *s, Operation *job, Prompts p, i64 *label) {
  Costs *loads = s->r->loads;
  if (loads->formula) {
    double found = prompts_s(s, loads, 1 + job->draft, p, job->kind == PREFILL);
    job->demand = demand_of(s, job->draft, prompt_passes(&loads->models[1 + job->draft], p), found);
  }
  return price_of_prompts(s, job->draft, p, label);
}
