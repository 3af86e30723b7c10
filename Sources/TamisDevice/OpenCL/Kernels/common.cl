// What every program begins with: element types, key rows, the attended list and rotation.
// -D DTYPE: element type of the key and value rows, numbered as tamis_dtype. -D D: head dim, a multiple of 4.

#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

#define DTYPE_F32 0
#define DTYPE_F16 1
#define DTYPE_BF16 2
#define DTYPE_I8 3

// Four consecutive elements from element 4 * i on, as f32; loadN_T for each dtype T.
static inline float4 load4_0(global const float *p, size_t i) { return vload4(i, p); }
#ifdef cl_khr_fp16
static inline float4 load4_1(global const half *p, size_t i) { return convert_float4(vload4(i, p)); }
#else
static inline float4 load4_1(global const half *p, size_t i) { return vload_half4(i, p); }
#endif
static inline float4 load4_2(global const ushort *p, size_t i) { return as_float4(convert_uint4(vload4(i, p)) << 16); }
static inline float4 load4_3(global const char *p, size_t i) { return convert_float4(vload4(i, p)); }

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define ELEM_0 float
#define ELEM_1 half
#define ELEM_2 ushort
#define ELEM_3 char

#ifdef DTYPE
#define ELEM JOIN(ELEM_, DTYPE)
#define load4 JOIN(load4_, DTYPE)
#endif

#define D4 (D / 4)
// From row to row of a tile in local memory: one more than a row has, so that a column lies in different banks.
#define TILE_STRIDE (D4 + 1)

#ifdef DTYPE
// Elements 4 * i .. of row `at`, as f32.
static inline float4 row4(global const ELEM *rows, global const float *scales, int at, int i) {
  float4 x = load4(rows, (size_t)at * D4 + i);
#if DTYPE == DTYPE_I8
  x *= scales[at];
#endif
  return x;
}

// Rows at[0 ..< n] into a tile, zeros where there is none (-1); by all `width` work-items.
static inline void load_tile(
    global const ELEM *rows, global const float *scales, local const int *at, int n, local float4 *tile, int lid, int width) {
  for (int e = lid; e < n * D4; e += width) {
    const int t = e / D4, i = e % D4;
    tile[t * TILE_STRIDE + i] = at[t] >= 0 ? row4(rows, scales, at[t], i) : (float4)(0.0f);
  }
}
#endif

// Rows live in frames [kv_heads][page_tokens] of a layer; frames[i] holds tokens [i * page_tokens, ..).
static inline int row_of(global const int *frames, int page_tokens, int kv_heads, int kv_head, int token) {
  const int page = token / page_tokens;
  return (frames[page] * kv_heads + kv_head) * page_tokens + token - page * page_tokens;
}

// The attended list: [0, sinks) ++ selected ++ [recent, ..), `places` long, ascending.
static inline int token_at(global const int *selected, int sinks, int n_selected, int recent, int place) {
  if (place < sinks) return place;
  place -= sinks;
  return place < n_selected ? selected[place] : recent + place - n_selected;
}

// Number of places whose token is at most `token`.
static inline int places_through(global const int *selected, int sinks, int n_selected, int recent, int places, int token) {
  int low = 0, high = places;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (token_at(selected, sinks, n_selected, recent, middle) <= token) low = middle + 1;
    else high = middle;
  }
  return low;
}

#if defined(ROPE) && ROPE > 0
// Angle of pair i at a position, as (cos, sin): the product of two table entries, 1024 * (p / 1024) and p % 1024, that the
// host computed in f64. A single f32 angle would be wrong in the third digit at a million.
static inline float2 rope_turn(global const float2 *fine, global const float2 *coarse, int position, int i) {
  const int p = abs(position);
  const float2 f = fine[(p & 1023) * RHALF + i], c = coarse[(p >> 10) * RHALF + i];
  const float s = c.y * f.x + c.x * f.y;
  return (float2)(c.x * f.x - c.y * f.y, position < 0 ? -s : s);
}

static inline void rope_pair(local float *row, int i, float2 turn) {
#if ROPE == 1
  const int a = i, b = i + RHALF;
#else
  const int a = 2 * i, b = 2 * i + 1;
#endif
  const float x = row[a], y = row[b];
  row[a] = x * turn.x - y * turn.y;
  row[b] = y * turn.x + x * turn.y;
}
#endif

#if defined(ROPE) && ROPE > 0
// Turns the n rows of a tile that begins at place `start` of the list.
static inline void turn_tile(
    local float4 *tile, local const int *at, int n, int start, int compact, global const int *selected, int sinks,
    int n_selected, int recent, global const float2 *fine, global const float2 *coarse, int lid, int width) {
  for (int e = lid; e < n * RHALF; e += width) {
    const int t = e / RHALF, i = e % RHALF;
    if (at[t] < 0) continue;
    const int position = compact ? start + t : token_at(selected, sinks, n_selected, recent, start + t);
    rope_pair((local float *)(tile + t * TILE_STRIDE), i, rope_turn(fine, coarse, position, i));
  }
}
#endif

// cap(scale * dot) + bias, the logit.
static inline float logit(float dot_qk, float scale, float softcap, float bias) {
  const float z = dot_qk * scale;
  return (softcap > 0.0f ? softcap * tanh(z / softcap) : z) + bias;
}

#ifdef BM
// Tiles of BM query rows by TK keys, a multiple of 8, with an online softmax (FlashAttention-2, arXiv 2307.08691, Algorithm 1).
// Work-item (y, x) of BM/RM by 8 owns rows y * RM .., keys j * 8 + x and dims 4 * (i * 8 + x) ...
#define TX 8
#define WG (TX * BM / RM)
#define KM (TK / TX)
#define DM ((D4 + TX - 1) / TX)
#define HAS_DIM(e) (D4 % TX == 0 || (e) * TX + x < D4)

// z [RM][KM]: the products of a work-item's rows and keys.
static inline void tile_products(local const float4 *query, local const float4 *tile, int y, int x, float *z) {
  for (int e = 0; e < RM * KM; e++) z[e] = 0.0f;
  for (int i = 0; i < D4; i++) {
    float4 a[RM];
    for (int r = 0; r < RM; r++) a[r] = query[(y * RM + r) * TILE_STRIDE + i];
    for (int j = 0; j < KM; j++) {
      const float4 k = tile[(j * TX + x) * TILE_STRIDE + i];
      for (int r = 0; r < RM; r++) z[r * KM + j] += dot(a[r], k);
    }
  }
}

// A row's largest logit so far, m, takes in those of its work-items; its sums l and acc [DM] follow. Returns what to take off
// its logits.
static inline float raise_top(local const float *tops, float *m, float *l, float4 *acc) {
  float top = *m;
  for (int e = 0; e < TX; e++) top = fmax(top, tops[e]);
  const float base = top == -INFINITY ? 0.0f : top;
  const float alpha = exp(*m - base);
  *m = top;
  *l *= alpha;
  for (int e = 0; e < DM; e++) acc[e] *= alpha;
  return base;
}

// acc [RM][DM] += the first n values of a tile, weighted by p [BM][TK + 1].
static inline void add_values(local const float *p, local const float4 *tile, int n, int y, int x, float4 *acc) {
  for (int t = 0; t < n; t++) {
    float w[RM];
    for (int r = 0; r < RM; r++) w[r] = p[(y * RM + r) * (TK + 1) + t];
    for (int e = 0; e < DM; e++) {
      if (HAS_DIM(e)) {
        const float4 v = tile[t * TILE_STRIDE + e * TX + x];
        for (int r = 0; r < RM; r++) acc[r * DM + e] += w[r] * v;
      }
    }
  }
}
#endif
