/* SPIN's selector: spinsim.policies.selectors.spin, spinsim.policies.statistics and .reward. */
/* Statistics.of: gains, costs and pulls by arm, NO_DRAFT's the last */
static double *stats_of(State *s, i64 id) {
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
    double cost = r->reward == SECOND ? 1.0 : fmax(r->reward == FIRST ? m->draft_s[i] : round_s, 1e-9);
    s->stat_rounds[m->id[i]]++;
    stats[arm] += gain, stats[k + arm] += cost, stats[2 * k + arm] += 1;
    if (!r->weight) continue;
    s->pool_gain[arm] += gain, s->pool_cost[arm] += cost, s->pool_pulls[arm] += 1;
    double scale = (r->weight < s->pool_pulls[arm] ? r->weight : s->pool_pulls[arm]) / s->pool_pulls[arm];
    s->prior_gain[arm] = scale * s->pool_gain[arm];
    s->prior_cost[arm] = scale * s->pool_cost[arm];
  }
}
