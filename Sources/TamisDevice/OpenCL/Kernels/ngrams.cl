// Clipped n-gram matches of hypotheses with their references: one work-group per hypothesis, exactly, whatever runs first.
//
// Every place stands for the n-gram that begins there. A table of places, open addressing with compare-and-exchange, gives
// each n-gram one place that stands for all that are equal; which one it is depends on the order of execution, the counts do
// not. Order n + 1 compares the places that stand for the n-grams at p and p + 1, so keys are exact.
// -D PLACES: the room of one group in local memory; 0: in global memory, `room` places a group.

#define LANES 256
#define NONE 0xffffffffu
#define EVERYTHING (CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)

#if PLACES
#define SPACE local
#else
#define SPACE global
#endif

// ids: sequence s is ids[starts[s]] to ids[starts[s + 1]]; the hypotheses come first, then the references, those of segment
// g from hypotheses + reference_starts[g] on. listed: the hypotheses that this launch counts. matches [hypothesis][max_n].
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
count_ngrams(global const int *ids, global const int *starts, global const int *reference_starts, int hypotheses,
             int candidates, int max_n, int has_pad, int pad, global const int *listed, int count, int room,
             global uint *scratch, global int *matches) {
#if PLACES
  local uint memory[6 * PLACES];
  const int most_places = PLACES;
#else
  global uint *memory = scratch + (size_t)get_group_id(0) * 6 * room;
  const int most_places = room;
#endif
  local int sum;
  const int lid = get_local_id(0);
  SPACE uint *used = memory + 2 * most_places, *most = memory + 3 * most_places, *table = memory + 4 * most_places;
  for (int item = get_group_id(0); item < count; item += get_num_groups(0)) {
    SPACE uint *before = memory, *now = memory + most_places;
    const int h = listed[item], segment = h / candidates;
    const int first = reference_starts[segment], references = reference_starts[segment + 1] - first;
    // The hypothesis, then the references, with a place of no n-gram after each. Sequence -1 is the hypothesis.
    int places = 0;
    for (int r = -1; r < references; r++) {
      const int s = r < 0 ? h : hypotheses + first + r;
      const int begin = starts[s], length = starts[s + 1] - begin;
      for (int t = lid; t < length; t += LANES) {
        const int id = ids[begin + t];
        before[places + t] = (uint)id;
        now[places + t] = has_pad && id == pad ? NONE : 0;
      }
      if (lid == 0) now[places + length] = NONE;
      places += length + 1;
    }
    int slots = 16;
    while (slots < 2 * (places - 1) && slots < 2 * most_places) slots *= 2;
    for (int n = 1; n <= max_n; n++) {
      for (int p = lid; p < slots; p += LANES) table[p] = NONE;
      for (int p = lid; p < places; p += LANES) used[p] = most[p] = 0;
      if (lid == 0) sum = 0;
      barrier(EVERYTHING);
      for (int p = lid; p < places; p += LANES) {
        const int is_one = n == 1 ? now[p] != NONE : before[p] != NONE && before[p + 1] != NONE;
        uint found = NONE;
        if (is_one) {
          const uint a = before[p], b = n == 1 ? 0 : before[p + 1];
          uint slot = (a * 0x9e3779b1u) ^ (b * 0x85ebca6bu);
          slot = (slot ^ slot >> 15) * 0xc2b2ae35u;
          slot = (slot ^ slot >> 16) & (uint)(slots - 1);
          while (true) {
            const uint other = atomic_cmpxchg(&table[slot], NONE, (uint)p);
            if (other == NONE) {
              found = (uint)p;
              break;
            }
            if (before[other] == a && (n == 1 || before[other + 1] == b)) {
              found = other;
              break;
            }
            slot = (slot + 1) & (uint)(slots - 1);
          }
        }
        now[p] = found;
      }
      barrier(EVERYTHING);
      // The largest count in one reference.
      int place = starts[h + 1] - starts[h] + 1;
      for (int r = 0; r < references; r++) {
        const int s = hypotheses + first + r, end = place + starts[s + 1] - starts[s];
        for (int p = place + lid; p < end; p += LANES)
          if (now[p] != NONE) atomic_inc(&used[now[p]]);
        barrier(EVERYTHING);
        for (int p = place + lid; p < end; p += LANES)
          if (now[p] != NONE) atomic_max(&most[now[p]], used[now[p]]);
        barrier(EVERYTHING);
        for (int p = place + lid; p < end; p += LANES)
          if (now[p] != NONE) used[now[p]] = 0;
        barrier(EVERYTHING);
        place = end + 1;
      }
      int matched = 0;
      for (int p = lid; p < starts[h + 1] - starts[h]; p += LANES)
        if (now[p] != NONE) matched += atomic_inc(&used[now[p]]) < most[now[p]];
      atomic_add(&sum, matched);
      barrier(EVERYTHING);
      if (lid == 0) matches[(size_t)h * max_n + n - 1] = sum;
      barrier(EVERYTHING);
      SPACE uint *old = before;
      before = now;
      now = old;
    }
  }
}
