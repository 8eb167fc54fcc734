/* Memory, the tables that are handed over, and what is due next. */
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

static int before(const Entry *a, const Entry *b) {
  for (int i = 0; i < 4; i++)
    if (a->keys[i] != b->keys[i]) return a->keys[i] < b->keys[i];
  return 0;
}

static void push(State *s, Heap *heap, Entry entry) { /* heapq.heappush */
  if (heap->rows == heap->room) {
    i64 wanted = heap->room ? 2 * heap->room : 1024;
    Entry *larger = realloc(heap->entries, wanted * sizeof(Entry));
    if (!larger) { s->r->stop = NO_MEMORY; return; }
    heap->entries = larger, heap->room = wanted;
  }
  Entry *at = heap->entries;
  i64 i = heap->rows++;
  for (; i && before(&entry, &at[(i - 1) / 2]); i = (i - 1) / 2) at[i] = at[(i - 1) / 2];
  at[i] = entry;
}

static Entry pop(Heap *heap) { /* heapq.heappop */
  Entry *at = heap->entries, first = at[0], last = at[--heap->rows];
  i64 i = 0, child;
  while ((child = 2 * i + 1) < heap->rows) {
    if (child + 1 < heap->rows && before(&at[child + 1], &at[child])) child++;
    if (!before(&at[child], &last)) break;
    at[i] = at[child];
    i = child;
  }
  at[i] = last;
  return first;
}

/* simpy.Environment.schedule */
static void schedule(State *s, i64 at, i64 kind, i64 which, Operation *operation) {
  push(s, &s->events, (Entry){{at, s->numbers++, 0, 0}, kind, which, operation});
}
