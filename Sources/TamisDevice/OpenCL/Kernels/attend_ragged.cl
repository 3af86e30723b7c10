// Attention of every token over its own sequence, in tiles with an online softmax (FlashAttention-2, arXiv 2307.08691,
// Algorithm 1). qkv [n][3][heads][D]; out [n][heads][D]. One work-group per (tile of BM queries of one sequence, head). -D BM:
// queries of a tile; RM: queries of a work-item; TK: keys of a tile, a multiple of 8. Work-item (y, x) of BM/RM by 8 owns
// queries y * RM .., keys j * 8 + x and dims 4 * (i * 8 + x) ... tiles [groups] (first query, first token of the sequence, past
// its last token).

#define TX 8
#define WG (TX * BM / RM)
#define KM (TK / TX)
#define DM ((D4 + TX - 1) / TX)
#define HAS_DIM(e) (D4 % TX == 0 || (e) * TX + x < D4)

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
    for (int e = 0; e < RM * KM; e++) z[e] = 0.0f;
    for (int i = 0; i < D4; i++) {
      float4 a[RM];
      for (int r = 0; r < RM; r++) a[r] = query[(y * RM + r) * TILE_STRIDE + i];
      for (int j = 0; j < KM; j++) {
        const float4 b = tile[(j * TX + x) * TILE_STRIDE + i];
        for (int r = 0; r < RM; r++) z[r * KM + j] += dot(a[r], b);
      }
    }
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
      float top = m[r];
      for (int e = 0; e < TX; e++) top = fmax(top, reduced[row * TX + e]);
      const float base = top == -INFINITY ? 0.0f : top;
      const float alpha = exp(m[r] - base);
      m[r] = top;
      l[r] *= alpha;
      for (int e = 0; e < DM; e++) acc[r * DM + e] *= alpha;
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
    for (int t = 0; t < count; t++) {
      float w[RM];
      for (int r = 0; r < RM; r++) w[r] = p[(y * RM + r) * (TK + 1) + t];
      for (int e = 0; e < DM; e++) {
        if (HAS_DIM(e)) {
          const float4 u = tile[t * TILE_STRIDE + e * TX + x];
          for (int r = 0; r < RM; r++) acc[r * DM + e] += w[r] * u;
        }
      }
    }
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
