// Stores rows in a layer's frames, and keeps the scoring copy of the keys. One work-group of 64 per row.
// -D SRC, DST: dtypes. i8 rows take the scale max|x| / 127 over their finite values; non-finite values become 0 in i8.

#define LANES 64
#define SRC_ELEM JOIN(ELEM_, SRC)
#define DST_ELEM JOIN(ELEM_, DST)
#define load4_src JOIN(load4_, SRC)

static inline ushort bf16_of(float x) {
  const uint u = as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (ushort)((u >> 16) | 0x40u);
  return (ushort)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
static inline void store4_0(float4 x, global float *p, size_t i) { vstore4(x, i, p); }
static inline void store4_1(float4 x, global half *p, size_t i) { vstore_half4_rte(x, i, p); }
static inline void store4_2(float4 x, global ushort *p, size_t i) {
  vstore4((ushort4)(bf16_of(x.x), bf16_of(x.y), bf16_of(x.z), bf16_of(x.w)), i, p);
}

// One row of D elements; *scale_to receives its scale when DST is i8.
static inline void store_row(global const SRC_ELEM *from, float from_scale, global DST_ELEM *to, global float *scale_to,
                      local float *reduced) {
  const int lid = get_local_id(0);
#if DST == DTYPE_I8
  float top = 0.0f;
  for (int i = lid; i < D4; i += LANES) {
    const float4 x = load4_src(from, i) * from_scale;
    top = fmax(top, isfinite(x.x) ? fabs(x.x) : 0.0f);
    top = fmax(top, isfinite(x.y) ? fabs(x.y) : 0.0f);
    top = fmax(top, isfinite(x.z) ? fabs(x.z) : 0.0f);
    top = fmax(top, isfinite(x.w) ? fabs(x.w) : 0.0f);
  }
  reduced[lid] = top;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int e = 0; e < LANES; e++) top = fmax(top, reduced[e]);
  const float scale = top / 127.0f;
  for (int i = lid; i < D4; i += LANES) {
    const float4 x = load4_src(from, i) * from_scale;
    // A row of zeros, or so small that its scale is 0, is stored as zeros.
    const float4 y = scale > 0.0f ? clamp(rint(x / scale), -127.0f, 127.0f) : (float4)(0.0f);
    vstore4((char4)(isfinite(x.x) ? convert_char_sat(y.x) : 0, isfinite(x.y) ? convert_char_sat(y.y) : 0,
                    isfinite(x.z) ? convert_char_sat(y.z) : 0, isfinite(x.w) ? convert_char_sat(y.w) : 0), i, to);
  }
  if (lid == 0) *scale_to = scale;
#else
  for (int i = lid; i < D4; i += LANES) JOIN(store4_, DST)(load4_src(from, i) * from_scale, to, i);
#endif
}

// Rows [kv_heads][count][D] to slots [slot, slot + count) of a frame; group (t, head).
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void append(
    global const SRC_ELEM *from, global const float *from_scales, global DST_ELEM *to, global float *to_scales, int frame,
    int slot, int page_tokens) {
  local float reduced[LANES];
  const int t = get_group_id(0), head = get_group_id(1), count = get_num_groups(0), kv_heads = get_num_groups(1);
  const size_t source = (size_t)head * count + t;
  const size_t row = ((size_t)frame * kv_heads + head) * page_tokens + slot + t;
#if SRC == DTYPE_I8
  const float scale = from_scales[source];
#else
  const float scale = 1.0f;
#endif
  store_row(from + source * D, scale, to + row * D, to_scales + row, reduced);
}

// The same rows of the scoring copy, from the keys as stored, so that a restored cache scores as the saved one did.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void mirror(
    global const SRC_ELEM *keys, global const float *key_scales, global DST_ELEM *copy, global float *copy_scales, int frame,
    int slot, int page_tokens) {
  local float reduced[LANES];
  const int t = get_group_id(0), head = get_group_id(1), kv_heads = get_num_groups(1);
  const size_t row = ((size_t)frame * kv_heads + head) * page_tokens + slot + t;
#if SRC == DTYPE_I8 && DST == DTYPE_I8
  // The stored row is an i8 row already.
  for (int i = get_local_id(0); i < D; i += LANES) copy[row * D + i] = keys[row * D + i];
  if (get_local_id(0) == 0) copy_scales[row] = key_scales[row];
#else
#if SRC == DTYPE_I8
  const float scale = key_scales[row];
#else
  const float scale = 1.0f;
#endif
  store_row(keys + row * D, scale, copy + row * D, copy_scales + row, reduced);
#endif
}
