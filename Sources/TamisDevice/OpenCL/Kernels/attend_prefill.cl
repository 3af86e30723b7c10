// Attention of many rows over a list of keys, in tiles with an online softmax (FlashAttention-2, arXiv 2307.08691,
// Algorithm 1). One work-group per (tile of BM rows, kv head); rows of all query heads of the group share each tile of K and V.
// Who owns what: common.cl. Row r is query r / G of head kv_head * G + r % G.
// Query i sees the tokens above after + i, through + i at most. It stands at first_position + i, a key at its place in the list
// when `compact`, else at its token.

kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attend_prefill(
    global const float *q, global const ELEM *keys, global const ELEM *values, global const float *key_scales,
    global const float *value_scales, global const int *frames, int page_tokens, int kv_heads, int n_tokens,
    global const int *selected, int sinks, int n_selected, int recent, int places, int group, int n_queries, int through,
    int after, int compact, int first_position, float scale, float softcap, int has_bias,
    global const float *bias, global const float2 *fine, global const float2 *coarse, int last_tile, global float *out,
    global float *lse) {
  local float4 query[BM * TILE_STRIDE];
  local float4 tile[TK * TILE_STRIDE];
  local float p[BM * (TK + 1)];
  local float reduced[BM * TX];
  local int low[BM], high[BM];
  local int rows[TK];

  const int lid = get_local_id(0);
  const int x = lid % TX, y = lid / TX;
  // Causal rows cost more the later they are: start with the last.
  const int first_row = (last_tile - (int)get_group_id(0)) * BM, kv_head = get_group_id(1);
  const int n_rows = group * n_queries;

  for (int e = lid; e < BM * D4; e += WG) {
    const int r = min(first_row + e / D4, n_rows - 1);
    query[e / D4 * TILE_STRIDE + e % D4] =
        vload4((size_t)((kv_head * group + r % group) * n_queries + r / group) * D4 + e % D4, q);
  }
  for (int r = lid; r < BM; r += WG) {
    const int query_of_row = min(first_row + r, n_rows - 1) / group;
    high[r] = places_through(selected, sinks, n_selected, recent, places, through + query_of_row);
    low[r] = places_through(selected, sinks, n_selected, recent, places, after + query_of_row);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#if ROPE > 0
  for (int e = lid; e < BM * RHALF; e += WG) {
    const int r = e / RHALF, i = e % RHALF;
    const int position = first_position + min(first_row + r, n_rows - 1) / group;
    rope_pair((local float *)(query + r * TILE_STRIDE), i, rope_turn(fine, coarse, position, i));
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#endif

  float m[RM], l[RM];
  float4 acc[RM * DM];
  for (int r = 0; r < RM; r++) m[r] = -INFINITY, l[r] = 0.0f;
  for (int e = 0; e < RM * DM; e++) acc[e] = (float4)(0.0f);

  const int begin = low[0] / TK * TK, end = high[BM - 1];
  const int zero_place = has_bias && places > 0 && token_at(selected, sinks, n_selected, recent, 0) == 0 ? 0 : -1;

  for (int start = begin; start < end; start += TK) {
    for (int t = lid; t < TK; t += WG) {
      const int token = start + t < end ? token_at(selected, sinks, n_selected, recent, start + t) : -1;
      rows[t] = token >= 0 && token < n_tokens ? row_of(frames, page_tokens, kv_heads, kv_head, token) : -1;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    load_tile(keys, key_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);
#if ROPE > 0
    turn_tile(tile, rows, TK, start, compact, selected, sinks, n_selected, recent, fine, coarse, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);
#endif

    float z[RM * KM];
    tile_products(query, tile, y, x, z);
    // Every row of the tile sees every key of the tile: no masks below.
    const int all = start >= low[BM - 1] && start + TK <= high[0];
    for (int r = 0; r < RM; r++) {
      const int row = y * RM + r;
      const int head = kv_head * group + min(first_row + row, n_rows - 1) % group;
      float top = -INFINITY;
      for (int j = 0; j < KM; j++) {
        const int t = j * TX + x;
        z[r * KM + j] = logit(z[r * KM + j], scale, softcap, start + t == zero_place ? bias[head] : 0.0f);
        if (rows[t] >= 0 && (all || (start + t >= low[row] && start + t < high[row]))) top = fmax(top, z[r * KM + j]);
      }
      reduced[row * TX + x] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int r = 0; r < RM; r++) {
      const int row = y * RM + r;
      const float base = raise_top(reduced + row * TX, m + r, l + r, acc + r * DM);
      for (int j = 0; j < KM; j++) {
        const int t = j * TX + x;
        const int legal = rows[t] >= 0 && (all || (start + t >= low[row] && start + t < high[row]));
        const float w = legal ? exp(z[r * KM + j] - base) : 0.0f;
        p[row * (TK + 1) + t] = w;
        l[r] += w;
      }
    }
    // The keys have been used: their place takes the values.
    load_tile(values, value_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);

    if (all) {
      add_values(p, tile, TK, y, x, acc);
    } else {
      // A row that may not see a key must not meet it even with weight 0: the value may be NaN.
      for (int r = 0; r < RM; r++) {
        const int row = y * RM + r;
        const int from = max(low[row] - start, 0), to = min(high[row] - start, TK);
        for (int t = from; t < to; t++) {
          const float w = p[row * (TK + 1) + t];
          for (int e = 0; e < DM; e++)
            if (HAS_DIM(e)) acc[r * DM + e] += w * tile[t * TILE_STRIDE + e * TX + x];
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  for (int r = 0; r < RM; r++) reduced[(y * RM + r) * TX + x] = l[r];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int r = 0; r < RM; r++) {
    const int row = first_row + y * RM + r;
    float sum = 0.0f;
    for (int e = 0; e < TX; e++) sum += reduced[(y * RM + r) * TX + e];
    if (row < n_rows) {
      const size_t to = (size_t)(kv_head * group + row % group) * n_queries + row / group;
      for (int e = 0; e < DM; e++)
        if (HAS_DIM(e)) vstore4(sum == 0.0f ? (float4)(0.0f) : acc[r * DM + e] / sum, to * D4 + e * TX + x, out);
      if (x == 0) lse[to] = sum == 0.0f ? -INFINITY : (m[r] == -INFINITY ? 0.0f : m[r]) + log(sum);
    }
  }
}
