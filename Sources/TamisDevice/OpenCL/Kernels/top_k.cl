// The k largest of each row of scores, by radix select on keys that order as the numbers do: four passes of one byte find the
// k-th largest key and how many of its equals belong; prefix sums then place the winners in ascending order of index.
// Ties go to the lower index; NaN is -inf; -0 equals 0. All integer: no rounding, no flushed denormals.

#define LANES 256
#define EACH 16
#define BLOCK (LANES * EACH)

static inline uint key_of(float score) {
  uint u = as_uint(score);
  if ((u & 0x7fffffffu) > 0x7f800000u) u = 0xff800000u;
  if (u == 0x80000000u) u = 0u;
  return u ^ ((u >> 31) ? 0xffffffffu : 0x80000000u);
}

// state[row] = (bits of the k-th key found so far, how many are still to be taken among keys with these bits)
kernel void begin(int rows, int k, global uint2 *state, global uint *histogram) {
  const int i = get_global_id(0);
  if (i < rows) state[i] = (uint2)(0u, (uint)k);
  if (i < rows * 256) histogram[i] = 0u;
}

// Counts the next byte of the keys that agree with the bits found; group (block, row).
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void count_bytes(
    global const float *scores, int count, uint mask, int shift, global const uint2 *state, global uint *histogram) {
  local uint bins[256];
  const int lid = get_local_id(0), row = get_group_id(1);
  const int begin = get_group_id(0) * BLOCK, end = min(count, begin + BLOCK);
  bins[lid] = 0u;
  barrier(CLK_LOCAL_MEM_FENCE);
  const uint found = state[row].x;
  for (int j = begin + lid; j < end; j += LANES) {
    const uint key = key_of(scores[(size_t)row * count + j]);
    if ((key & mask) == found) atomic_inc(&bins[(key >> shift) & 255u]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (bins[lid]) atomic_add(&histogram[row * 256 + lid], bins[lid]);
}

// Chooses the byte in which the k-th key falls, and clears the histogram for the next pass. One group per row.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void choose_byte(int shift, global uint2 *state,
                                                                           global uint *histogram) {
  local uint above[257];
  const int lid = get_local_id(0), row = get_group_id(0);
  above[lid] = histogram[row * 256 + lid];
  if (lid == 0) above[256] = 0u;
  histogram[row * 256 + lid] = 0u;
  const uint2 now = state[row];
  barrier(CLK_LOCAL_MEM_FENCE);
  // above[b] becomes the number of keys whose byte is b or more
  for (int step = 1; step < 256; step *= 2) {
    const uint sum = above[lid] + (lid + step < 256 ? above[lid + step] : 0u);
    barrier(CLK_LOCAL_MEM_FENCE);
    above[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (above[lid] >= now.y && above[lid + 1] < now.y)
    state[row] = (uint2)(now.x | ((uint)lid << shift), now.y - above[lid + 1]);
}

// (keys above, keys equal) of this work-item's EACH scores
static inline uint2 count_item(global const float *scores, int begin, int end, uint kth) {
  uint2 n = (uint2)(0u);
  for (int j = begin; j < end; j++) {
    const uint key = key_of(scores[j]);
    n.x += key > kth;
    n.y += key == kth;
  }
  return n;
}

// Exclusive prefix sums over the work-group; *total receives the sum.
static inline uint2 scan(local uint2 *sums, uint2 mine, uint2 *total) {
  const int lid = get_local_id(0);
  sums[lid] = mine;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int step = 1; step < LANES; step *= 2) {
    const uint2 sum = sums[lid] + (lid >= step ? sums[lid - step] : (uint2)(0u));
    barrier(CLK_LOCAL_MEM_FENCE);
    sums[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  *total = sums[LANES - 1];
  const uint2 before = sums[lid] - mine;
  barrier(CLK_LOCAL_MEM_FENCE);
  return before;
}

kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void count_blocks(global const float *scores, int count,
                                                                            global const uint2 *state,
                                                                            global uint2 *blocks) {
  local uint2 sums[LANES];
  const int row = get_group_id(1), begin = get_group_id(0) * BLOCK + (int)get_local_id(0) * EACH;
  uint2 total;
  scan(sums, count_item(scores + (size_t)row * count, begin, min(count, begin + EACH), state[row].x), &total);
  if (get_local_id(0) == 0) blocks[(size_t)row * get_num_groups(0) + get_group_id(0)] = total;
}

// Turns the counts of the blocks into what comes before each. One group per row.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void scan_blocks(global uint2 *blocks, int n) {
  local uint2 sums[LANES];
  const int lid = get_local_id(0);
  global uint2 *mine = blocks + (size_t)get_group_id(0) * n;
  uint2 carry = (uint2)(0u);
  for (int start = 0; start < n; start += LANES) {
    uint2 total;
    const uint2 before = scan(sums, start + lid < n ? mine[start + lid] : (uint2)(0u), &total);
    if (start + lid < n) mine[start + lid] = carry + before;
    carry += total;
  }
}

// Writes first + j of every winner j of row 0, ascending.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void place(global const float *scores, int count, int first,
                                                                     global const uint2 *state,
                                                                     global const uint2 *blocks, global int *winners) {
  local uint2 sums[LANES];
  const int begin = get_group_id(0) * BLOCK + (int)get_local_id(0) * EACH, end = min(count, begin + EACH);
  const uint2 kth = state[0];
  uint2 total;
  uint2 before = scan(sums, count_item(scores, begin, end, kth.x), &total) + blocks[get_group_id(0)];
  for (int j = begin; j < end; j++) {
    const uint key = key_of(scores[j]);
    if (key > kth.x || (key == kth.x && before.y < kth.y)) winners[before.x + min(before.y, kth.y)] = first + j;
    before.x += key > kth.x;
    before.y += key == kth.x;
  }
}

// Replaces every score by 1 if it is among its row's winners, else 0.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void mark(global float *scores, int count,
                                                                    global const uint2 *state,
                                                                    global const uint2 *blocks) {
  local uint2 sums[LANES];
  const int row = get_group_id(1), begin = get_group_id(0) * BLOCK + (int)get_local_id(0) * EACH;
  const int end = min(count, begin + EACH);
  global float *mine = scores + (size_t)row * count;
  const uint2 kth = state[row];
  uint2 total;
  uint2 before =
      scan(sums, count_item(mine, begin, end, kth.x), &total) + blocks[(size_t)row * get_num_groups(0) + get_group_id(0)];
  for (int j = begin; j < end; j++) {
    const uint key = key_of(mine[j]);
    mine[j] = key > kth.x || (key == kth.x && before.y < kth.y) ? 1.0f : 0.0f;
    before.x += key > kth.x;
    before.y += key == kth.x;
  }
}

// first, first + 1, ..: what k >= count selects.
kernel void all_of(int count, int first, global int *winners) {
  const int j = get_global_id(0);
  if (j < count) winners[j] = first + j;
}
