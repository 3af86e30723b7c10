// Attention of a few rows over a list of keys, split over the list (Flash-Decoding; FlashAttention-2, arXiv 2307.08691).
// One work-group per (split, kv head, block of R rows): each row of K and V is read once for all query heads of the group.
// -D R: rows of a block, at most 16; TK: keys of a tile, dividing WG; WG: work-items, 8 * R at least.
// A row r is query r / G of head kv_head * G + r % G. Partial results go to attend_merge.
// Query i sees the tokens above after + i, through + i at most. It stands at first_position + i, a key at its place in the list
// when `compact`, else at its token.

#define ROW_LANES 8
#define ROW_GROUPS (WG / TK)
#define ROWS_EACH ((R + ROW_GROUPS - 1) / ROW_GROUPS)
#define KEY_GROUPS (WG / D4)

kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attend_decode(
    global const float *q, global const ELEM *keys, global const ELEM *values, global const float *key_scales,
    global const float *value_scales, global const int *frames, int page_tokens, int kv_heads, int n_tokens,
    global const int *selected, int sinks, int n_selected, int recent, int places, int group, int n_queries, int through,
    int after, int compact, int first_position, float scale, float softcap, int has_bias,
    global const float *bias, global const float2 *fine, global const float2 *coarse, int split_places,
    global float *part, global float2 *part_stats) {
  local float4 tile[TK * TILE_STRIDE];
  local float4 query[R * D4];
  local float s[R * (TK + 1)];
  local float reduced[R * ROW_LANES];
  local float alphas[R];
  local int low[R], high[R];
  local int rows[TK];

  const int lid = get_local_id(0);
  const int split = get_group_id(0), kv_head = get_group_id(1), first_row = get_group_id(2) * R;
  const int n_rows = group * n_queries, splits = get_num_groups(0);

  for (int e = lid; e < R * D4; e += WG) {
    const int r = min(first_row + e / D4, n_rows - 1);
    query[e] = vload4((size_t)((kv_head * group + r % group) * n_queries + r / group) * D4 + e % D4, q);
  }
  if (lid < R) {
    const int query_of_row = min(first_row + lid, n_rows - 1) / group;
    high[lid] = places_through(selected, sinks, n_selected, recent, places, through + query_of_row);
    low[lid] = places_through(selected, sinks, n_selected, recent, places, after + query_of_row);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#if ROPE > 0
  for (int e = lid; e < R * RHALF; e += WG) {
    const int r = e / RHALF, i = e % RHALF;
    const int position = first_position + min(first_row + r, n_rows - 1) / group;
    rope_pair((local float *)(query + r * D4), i, rope_turn(fine, coarse, position, i));
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#endif

  const int row = lid / ROW_LANES, lane = lid % ROW_LANES;
  const int dim = lid % D4, key_group = lid / D4;
  float m = -INFINITY, l = 0.0f;
  float4 acc[R];
  for (int r = 0; r < R; r++) acc[r] = (float4)(0.0f);

  // Rows are in order of their queries: the first begins earliest, the last ends latest.
  const int begin = max(split * split_places, low[0] / TK * TK);
  const int end = min(min((split + 1) * split_places, places), high[R - 1]);
  const int zero_place = has_bias && places > 0 && token_at(selected, sinks, n_selected, recent, 0) == 0 ? 0 : -1;

  for (int start = begin; start < end; start += TK) {
    if (lid < TK) {
      const int token = start + lid < end ? token_at(selected, sinks, n_selected, recent, start + lid) : -1;
      rows[lid] = token >= 0 && token < n_tokens ? row_of(frames, page_tokens, kv_heads, kv_head, token) : -1;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    load_tile(keys, key_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);
#if ROPE > 0
    turn_tile(tile, rows, TK, start, compact, selected, sinks, n_selected, recent, fine, coarse, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    {
      const int t = lid % TK, row_group = lid / TK;
      float dots[ROWS_EACH];
      for (int x = 0; x < ROWS_EACH; x++) dots[x] = 0.0f;
      for (int i = 0; i < D4; i++) {
        const float4 k = tile[t * TILE_STRIDE + i];
        for (int x = 0; x < ROWS_EACH; x++) {
          const int r = min(row_group + x * ROW_GROUPS, R - 1);
          dots[x] += dot(query[r * D4 + i], k);
        }
      }
      for (int x = 0; x < ROWS_EACH; x++) {
        const int r = row_group + x * ROW_GROUPS;
        if (r < R) {
          const int head = kv_head * group + min(first_row + r, n_rows - 1) % group;
          s[r * (TK + 1) + t] = logit(dots[x], scale, softcap, start + t == zero_place ? bias[head] : 0.0f);
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (row < R) {
      float top = -INFINITY;
      for (int t = lane; t < TK; t += ROW_LANES)
        if (start + t >= low[row] && start + t < high[row] && rows[t] >= 0) top = fmax(top, s[row * (TK + 1) + t]);
      reduced[row * ROW_LANES + lane] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (row < R) {
      float top = m;
      for (int x = 0; x < ROW_LANES; x++) top = fmax(top, reduced[row * ROW_LANES + x]);
      const float base = top == -INFINITY ? 0.0f : top;
      const float alpha = exp(m - base);
      m = top;
      l *= alpha;
      for (int t = lane; t < TK; t += ROW_LANES) {
        const int legal = start + t >= low[row] && start + t < high[row] && rows[t] >= 0;
        const float p = legal ? exp(s[row * (TK + 1) + t] - base) : 0.0f;
        s[row * (TK + 1) + t] = p;
        l += p;
      }
      if (lane == 0) alphas[row] = alpha;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (key_group < KEY_GROUPS) {
      for (int r = 0; r < R; r++) acc[r] *= alphas[r];
      // A row that may not see a key must not meet it even with weight 0: the value may be NaN.
      const int all = start >= low[R - 1] && start + TK <= high[0];
      for (int t = key_group; t < TK; t += KEY_GROUPS) {
        const int at = rows[t];
        if (at >= 0) {
          const float4 v = row4(values, value_scales, at, dim);
          if (all)
            for (int r = 0; r < R; r++) acc[r] += s[r * (TK + 1) + t] * v;
          else
            for (int r = 0; r < R; r++)
              if (start + t >= low[r] && start + t < high[r]) acc[r] += s[r * (TK + 1) + t] * v;
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  if (row < R) reduced[row * ROW_LANES + lane] = l;
  for (int r = 0; r < R; r++) {
    if (key_group < KEY_GROUPS) tile[key_group * D4 + dim] = acc[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < D4 && first_row + r < n_rows) {
      float4 sum = (float4)(0.0f);
      for (int x = 0; x < KEY_GROUPS; x++) sum += tile[x * D4 + lid];
      vstore4(sum, ((size_t)(kv_head * n_rows + first_row + r) * splits + split) * D4 + lid, part);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (row < R && lane == 0 && first_row + row < n_rows) {
    float sum = 0.0f;
    for (int x = 0; x < ROW_LANES; x++) sum += reduced[row * ROW_LANES + x];
    part_stats[(size_t)(kv_head * n_rows + first_row + row) * splits + split] = (float2)(m, sum);
  }
}
