/* SPIN's request decomposition: spinsim.packings.decomposed. What was found is kept by sorted levels. */
static double price_of_verification(State *s, Packing *packing, i64 *label) { /* Predictor.verify */
  Costs *costs = s->r->costs;
  double seconds = -1;
  *label = costs->label;
  if (costs->formula == FIRST) return verify_s(s, costs, packing);
  if (costs->formula == SECOND) seconds = profiled_verify_s(s, packing, label);
  if (seconds >= 0) return seconds;
  return s->r->ask_cost(VERIFY, -1, packing->rows, (i64 *)packing, NULL, label);
}

static i64 level_of(i64 tokens) { /* decomposed._level */
  if (tokens < 16) return tokens;
  i64 shift = bit_length(tokens) - 4;
  return shift * 8 + (tokens >> shift);
}

static i64 top_of(i64 level) { /* decomposed._top */
  if (level < 16) return level;
  i64 shift = level / 8 - 1;
  return ((level - shift * 8 + 1) << shift) - 1;
}

static void candidate(Decompositions *d, i64 piece) {
  if (d->marked[piece]) return;
  d->marked[piece] = 1;
  d->longest = most(d->longest, piece);
}

/* decomposed.candidates, of ``n`` rows of these lengths: marked */
static void candidates(State *s, i64 n, const i64 *kv, i64 longest) {
  Decompositions *d = s->r->decompositions;
  i64 align = d->align;
  longest = ceil_div(longest, align) * align;
  d->longest = 0;
  for (i64 i = 0; i < n; i++) {
    i64 tokens = kv[i], parts = 1, piece;
    if (i && kv[i - 1] == tokens) continue; /* they are sorted */
    while ((piece = ceil_div(tokens, parts * align) * align) >= d->shortest) {
      candidate(d, piece);
      candidate(d, least(bucket_kv(piece), longest));
      if (piece <= align) break;
      parts = ceil_div(tokens, piece - align);
    }
  }
  if (!d->longest) candidate(d, most(d->shortest, longest));
}

static i64 best_piece(State *s, i64 n, const i64 *kv, i64 widest) { /* Decomposed.search */
  Decompositions *d = s->r->decompositions;
  i64 cached = 0, label, read_least = INT64_MAX, executed_least = INT64_MAX;
  i64 best = 0, best_read = 0, best_rows = 0;
  double best_s = 0.0;
  for (i64 i = 0; i < n; i++) cached += kv[i];
  candidates(s, n, kv, kv[n - 1]);
  i64 last = d->longest;
  for (i64 piece = d->longest; piece > 0; piece--) {
    if (!d->marked[piece]) continue;
    d->marked[piece] = 0;
    i64 rows = 0;
    for (i64 i = 0; i < n; i++) rows += (uint32_t)(kv[i] + piece - 1) / (uint32_t)piece;
    i64 read = rows * piece, executed = rows * bucket_kv(piece);
    int shorter = piece * 8 <= last * 7; /* decomposed.SHORTER */
    if (read >= read_least && executed >= executed_least && !shorter) continue;
    read_least = least(read_least, read), executed_least = least(executed_least, executed), last = piece;
    Packing packing = {s->r->packing_kind, rows, piece, rows * widest, read, n * widest, cached};
    double seconds = price_of_verification(s, &packing, &label);
    int ties = seconds == best_s && (read > best_read || (read == best_read && rows >= best_rows));
    if (best && (seconds > best_s || ties)) continue;
    best = piece, best_s = seconds, best_read = read, best_rows = rows;
  }
  return best;
}

static void decompose(State *s, i64 n, const i64 *kv, i64 widest, Packing *packing) { /* Decomposed.plan */
  Run *r = s->r;
  Decompositions *d = r->decompositions;
  i64 *tops = s->c, rows = 0;
  uint8_t *key = d->key;
  uint64_t hash = 1469598103934665603u ^ (uint64_t)widest;
  for (i64 i = 0; i < n; i++) { /* sorted levels */
    i64 level = level_of(kv[i]), j = i;
    for (; j && key[j - 1] > level; j--) key[j] = key[j - 1];
    key[j] = (uint8_t)level;
  }
  for (i64 i = 0; i < n; i++) hash = (hash ^ key[i]) * 1099511628211u;
  i64 at = (i64)((hash >> 16) & (DECOMPOSITIONS - 1));
  i64 *known = d->known + 3 * at; /* rows, widest and the piece that was found for them */
  if (known[0] != n || known[1] != widest || memcmp(d->keys + at * r->batch, key, n)) {
    for (i64 i = 0; i < n; i++) tops[i] = most(1, least(top_of(key[i]), r->context));
    known[0] = n, known[1] = widest, known[2] = best_piece(s, n, tops, widest);
    memcpy(d->keys + at * r->batch, key, n);
  }
  packing->piece = known[2];
  for (i64 i = 0; i < n; i++) rows += ceil_div(kv[i], packing->piece);
  packing->rows = rows, packing->queries = rows * widest, packing->kv = rows * packing->piece;
}
