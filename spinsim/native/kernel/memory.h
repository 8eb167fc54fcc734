/* Who holds K/V: spinsim.engine.kv and .draft_caches. */
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
