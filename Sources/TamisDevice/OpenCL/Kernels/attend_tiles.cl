// Attention over lists of key tiles, with an online softmax (FlashAttention-2, arXiv 2307.08691, Algorithm 1) over the places
// of a list: the tokens of its tiles, one after another. One work-group per (BM rows of a query block, list): the rows are
// queries of `sharing` heads, query major, which use one list and one KV head. Who owns what: common.cl.
// Query i sees the tokens above after + i, through + i at most. Tile j is tokens [j * key_block, (j + 1) * key_block).

// Number of places whose token is at most `token`, of n tiles.
static inline int listed_through(global const int *list, int n, int key_block, int token) {
  if (token < 0) return 0;
  const int tile = token / key_block;
  int low = 0, high = n;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (list[middle] < tile) low = middle + 1;
    else high = middle;
  }
  return low * key_block + (low < n && list[low] == tile ? token % key_block + 1 : 0);
}

kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attend_tiles(
    global const float *q, global const ELEM *keys, global const ELEM *values, global const float *key_scales,
    global const float *value_scales, int n_tokens, global const long *row_ptr, global const int *index, int blocks,
    int query_block, int key_block, int one_list, int sharing, int group, int n_queries, int through, int after, float scale,
    float softcap, int has_bias, global const float *bias, int last_tile, int tiles_of_block, global float *out,
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
  const int place_of_group = last_tile - (int)get_group_id(0);
  const int block = place_of_group / tiles_of_block, first_row = place_of_group % tiles_of_block * BM;
  const int first_head = (int)get_group_id(1) * sharing, kv_head = first_head / group;
  const int first_query = block * query_block;
  const int n_rows = min(query_block, n_queries - first_query) * sharing;
  // The last block may be shorter than the others.
  if (first_row >= n_rows) return;

  const size_t row = (size_t)(one_list ? 0 : get_group_id(1)) * blocks + block;
  global const int *list = index + row_ptr[row];
  const int n_tiles = (int)(row_ptr[row + 1] - row_ptr[row]);

  for (int e = lid; e < BM * D4; e += WG) {
    const int r = min(first_row + e / D4, n_rows - 1);
    query[e / D4 * TILE_STRIDE + e % D4] =
        vload4((size_t)((first_head + r % sharing) * n_queries + first_query + r / sharing) * D4 + e % D4, q);
  }
  for (int r = lid; r < BM; r += WG) {
    const int i = first_query + min(first_row + r, n_rows - 1) / sharing;
    high[r] = listed_through(list, n_tiles, key_block, min(through + i, n_tokens - 1));
    low[r] = listed_through(list, n_tiles, key_block, min(after + i, n_tokens - 1));
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  float m[RM], l[RM];
  float4 acc[RM * DM];
  for (int r = 0; r < RM; r++) m[r] = -INFINITY, l[r] = 0.0f;
  for (int e = 0; e < RM * DM; e++) acc[e] = (float4)(0.0f);

  const int begin = low[0] / TK * TK, end = high[BM - 1];
  const int zero_place = has_bias && n_tiles > 0 && list[0] == 0 ? 0 : -1;

  for (int start = begin; start < end; start += TK) {
    for (int t = lid; t < TK; t += WG) {
      const int place = start + t;
      rows[t] = place < end ? kv_head * n_tokens + list[place / key_block] * key_block + place % key_block : -1;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    load_tile(keys, key_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);

    float z[RM * KM];
    tile_products(query, tile, y, x, z);
    // Every row sees every key of the tile: no masks below.
    const int all = start >= low[BM - 1] && start + TK <= high[0];
    for (int r = 0; r < RM; r++) {
      const int at = y * RM + r;
      const int head = first_head + min(first_row + at, n_rows - 1) % sharing;
      float top = -INFINITY;
      for (int j = 0; j < KM; j++) {
        const int t = j * TX + x;
        z[r * KM + j] = logit(z[r * KM + j], scale, softcap, start + t == zero_place ? bias[head] : 0.0f);
        if (all || (start + t >= low[at] && start + t < high[at])) top = fmax(top, z[r * KM + j]);
      }
      reduced[at * TX + x] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int r = 0; r < RM; r++) {
      const int at = y * RM + r;
      const float base = raise_top(reduced + at * TX, m + r, l + r, acc + r * DM);
      for (int j = 0; j < KM; j++) {
        const int t = j * TX + x;
        const int legal = all || (start + t >= low[at] && start + t < high[at]);
        const float w = legal ? exp(z[r * KM + j] - base) : 0.0f;
        p[at * (TK + 1) + t] = w;
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
        const int at = y * RM + r;
        const int from = max(low[at] - start, 0), to = min(high[at] - start, TK);
        for (int t = from; t < to; t++) {
          const float w = p[at * (TK + 1) + t];
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
    const int at = first_row + y * RM + r;
    float sum = 0.0f;
    for (int e = 0; e < TX; e++) sum += reduced[(y * RM + r) * TX + e];
    if (at < n_rows) {
      const size_t to = (size_t)(first_head + at % sharing) * n_queries + first_query + at / sharing;
      for (int e = 0; e < DM; e++)
        if (HAS_DIM(e)) vstore4(sum == 0.0f ? (float4)(0.0f) : acc[r * DM + e] / sum, to * D4 + e * TX + x, out);
      if (x == 0) lse[to] = sum == 0.0f ? -INFINITY : (m[r] == -INFINITY ? 0.0f : m[r]) + log(sum);
    }
  }
}
