// Attention of every token over its own sequence, in tiles with an online softmax (FlashAttention-2, arXiv 2307.08691,
// Algorithm 1). qkv [n][3][heads][D]; out [n][heads][D]. One work-group per (tile of BM queries of one sequence, head); who owns
// what: common.cl. tiles [groups] (first query, first token of the sequence, past its last token).

kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void attend_ragged(
    global const float *qkv, int heads, global const int *tiles, float scale, global float *out) {
  local float4 query[BM * TILE_STRIDE];
  local float4 tile[TK * TILE_STRIDE];
  local float p[BM * (TK + 1)];
  local float reduced[BM * TX];

  const int lid = get_local_id(0);
  const int x = lid % TX, y = lid / TX;
  const int group = get_group_id(0), head = get_group_id(1);
  const int first = tiles[3 * group], begin = tiles[3 * group + 1], end = tiles[3 * group + 2];
  const size_t pitch = (size_t)3 * heads * D4;
  const size_t q = (size_t)head * D4, k = q + (size_t)heads * D4, v = k + (size_t)heads * D4;

  for (int e = lid; e < BM * D4; e += WG) {
    const int t = min(first + e / D4, end - 1);
    query[e / D4 * TILE_STRIDE + e % D4] = vload4(t * pitch + q + e % D4, qkv);
  }
  float m[RM], l[RM];
  float4 acc[RM * DM];
  for (int r = 0; r < RM; r++) m[r] = -INFINITY, l[r] = 0.0f;
  for (int e = 0; e < RM * DM; e++) acc[e] = (float4)(0.0f);

  for (int start = begin; start < end; start += TK) {
    const int count = min(TK, end - start);
    for (int e = lid; e < TK * D4; e += WG)
      tile[e / D4 * TILE_STRIDE + e % D4] =
          e / D4 < count ? vload4((start + e / D4) * pitch + k + e % D4, qkv) : (float4)(0.0f);
    barrier(CLK_LOCAL_MEM_FENCE);

    float z[RM * KM];
    tile_products(query, tile, y, x, z);
    for (int r = 0; r < RM; r++) {
      float top = -INFINITY;
      for (int j = 0; j < KM; j++) {
        z[r * KM + j] *= scale;
        if (j * TX + x < count) top = fmax(top, z[r * KM + j]);
      }
      reduced[(y * RM + r) * TX + x] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int r = 0; r < RM; r++) {
      const int row = y * RM + r;
      const float base = raise_top(reduced + row * TX, m + r, l + r, acc + r * DM);
      for (int j = 0; j < KM; j++) {
        const float w = j * TX + x < count ? exp(z[r * KM + j] - base) : 0.0f;
        p[row * (TK + 1) + j * TX + x] = w;
        l[r] += w;
      }
    }
    // The keys have been used: their place takes the values.
    for (int e = lid; e < count * D4; e += WG)
      tile[e / D4 * TILE_STRIDE + e % D4] = vload4((start + e / D4) * pitch + v + e % D4, qkv);
    barrier(CLK_LOCAL_MEM_FENCE);
    add_values(p, tile, count, y, x, acc);
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  for (int r = 0; r < RM; r++) reduced[(y * RM + r) * TX + x] = l[r];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int r = 0; r < RM; r++) {
    const int t = first + y * RM + r;
    float sum = 0.0f;
    for (int e = 0; e < TX; e++) sum += reduced[(y * RM + r) * TX + e];
    if (t < end)
      for (int e = 0; e < DM; e++)
        if (HAS_DIM(e)) vstore4(acc[r * DM + e] / sum, (size_t)t * heads * D4 + head * D4 + e * TX + x, out);
  }
}
