// Logits of every candidate token for the query of each head: z[head][j] = q'_head . k_j, keys as stored, un-rotated.
// One work-group per (64 keys, kv head, block of ROWS heads); a tile of keys passes through local memory DC dims at a time.
// -D ROWS: heads of a block; DC: dims of a step, a multiple of 8 that divides D.

#define TK 64
#define DC4 (DC / 4)
#define STRIDE (DC4 + 1)

// NaN counts as -inf, infinities as the largest finite number.
static inline float tame(float z) { return isnan(z) ? -INFINITY : clamp(z, -FLT_MAX, FLT_MAX); }

kernel __attribute__((reqd_work_group_size(TK, 1, 1))) void score(
    global const float *query, global const ELEM *keys, global const float *key_scales, global const int *frames,
    int page_tokens, int kv_heads, int first, int count, int group, int modulo, global float *z) {
  local float4 tile[TK * STRIDE];
  local float4 q[ROWS * DC4];
  local int rows[TK];
  const int lid = get_local_id(0);
  const int start = get_group_id(0) * TK, kv_head = get_group_id(1), first_row = get_group_id(2) * ROWS;

  rows[lid] = start + lid < count ? row_of(frames, page_tokens, kv_heads, kv_head, first + start + lid) : -1;
  float dots[ROWS];
  for (int r = 0; r < ROWS; r++) dots[r] = 0.0f;

  for (int c = 0; c < D4; c += DC4) {
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = lid; e < TK * DC4; e += TK) {
      const int t = e / DC4, i = e % DC4, at = rows[t];
      tile[t * STRIDE + i] = at >= 0 ? load4(keys, (size_t)at * D4 + c + i) : (float4)(0.0f);
    }
    for (int e = lid; e < ROWS * DC4; e += TK) {
      const int g = min(first_row + e / DC4, group - 1);
      const int head = modulo ? g * kv_heads + kv_head : kv_head * group + g;
      q[e] = vload4((size_t)head * D4 + c + e % DC4, query);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < DC4; i++) {
      const float4 k = tile[lid * STRIDE + i];
      for (int r = 0; r < ROWS; r++) dots[r] += dot(q[r * DC4 + i], k);
    }
  }
  if (start + lid < count) {
#if DTYPE == DTYPE_I8
    const float scale = key_scales[rows[lid]];
#else
    const float scale = 1.0f;
#endif
    for (int r = 0; r < ROWS; r++) {
      const int g = first_row + r;
      if (g < group) {
        const int head = modulo ? g * kv_heads + kv_head : kv_head * group + g;
        z[(size_t)head * count + start + lid] = tame(dots[r] * scale);
      }
    }
  }
}
