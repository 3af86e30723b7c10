// From the logits of the heads, z[head][j], to one vote per token (TokenSelect, arXiv 2411.02886, eq. 7 and 8).

#define LANES 256
#define BLOCK 4096

// (max, sum of exp(z - max)) of each block of a head; group (block, head).
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void softmax_blocks(global const float *z, int count,
                                                                              global float2 *stats) {
  local float reduced[LANES];
  const int lid = get_local_id(0), block = get_group_id(0), head = get_group_id(1);
  global const float *row = z + (size_t)head * count;
  const int begin = block * BLOCK, end = min(count, begin + BLOCK);
  float m = -INFINITY, sum = 0.0f;
  for (int j = begin + lid; j < end; j += LANES) m = fmax(m, row[j]);
  reduced[lid] = m;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {
    if (lid < half_way) reduced[lid] = fmax(reduced[lid], reduced[lid + half_way]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  m = reduced[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  if (m > -INFINITY)
    for (int j = begin + lid; j < end; j += LANES) sum += exp(row[j] - m);
  reduced[lid] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {
    if (lid < half_way) reduced[lid] += reduced[lid + half_way];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (lid == 0) stats[(size_t)head * get_num_groups(0) + block] = (float2)(m, reduced[0]);
}

// The same of the whole head, as (max, 1 / sum); a head without a number gets (0, 0). One work-item per head.
kernel void softmax_heads(global const float2 *stats, int blocks, int heads, global float2 *total) {
  const int head = get_global_id(0);
  if (head >= heads) return;
  float m = -INFINITY, sum = 0.0f;
  for (int b = 0; b < blocks; b++) m = fmax(m, stats[(size_t)head * blocks + b].x);
  if (m > -INFINITY)
    for (int b = 0; b < blocks; b++)
      sum += stats[(size_t)head * blocks + b].y * exp(stats[(size_t)head * blocks + b].x - m);
  total[head] = sum > 0.0f ? (float2)(m, 1.0f / sum) : (float2)(0.0f);
}

kernel void vote_soft(global const float *z, global const float2 *total, int count, int heads, global float *votes) {
  const int j = get_global_id(0);
  if (j >= count) return;
  float vote = 0.0f;
  for (int h = 0; h < heads; h++) vote += exp(z[(size_t)h * count + j] - total[h].x) * total[h].y;
  votes[j] = vote;
}

kernel void vote_sum(global const float *z, int count, int heads, global float *votes) {
  const int j = get_global_id(0);
  if (j >= count) return;
  float vote = 0.0f;
  for (int h = 0; h < heads; h++) vote += z[(size_t)h * count + j];
  votes[j] = vote;
}

// Max over `width` neighbours, padded with -inf.
kernel void pool(global const float *votes, int count, int width, global float *pooled) {
  const int j = get_global_id(0);
  if (j >= count) return;
  float top = -INFINITY;
  for (int i = max(0, j - width / 2); i <= min(count - 1, j + width / 2); i++) top = fmax(top, votes[i]);
  pooled[j] = top;
}
