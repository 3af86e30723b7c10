// Written by embed_kernels.py from Kernels/*.cl; do not edit.

/// The OpenCL C programs; each but `common` is compiled behind `common`.
enum EmbeddedKernels {
  static let append = #"""



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

    const float4 y = scale > 0.0f ? clamp(rint(x / scale), -127.0f, 127.0f) : (float4)(0.0f);
    vstore4((char4)(isfinite(x.x) ? convert_char_sat(y.x) : 0, isfinite(x.y) ? convert_char_sat(y.y) : 0,
    isfinite(x.z) ? convert_char_sat(y.z) : 0, isfinite(x.w) ? convert_char_sat(y.w) : 0), i, to);
    }
    if (lid == 0) *scale_to = scale;
    #else
    for (int i = lid; i < D4; i += LANES) JOIN(store4_, DST)(load4_src(from, i) * from_scale, to, i);
    #endif
    }


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


    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void mirror(
    global const SRC_ELEM *keys, global const float *key_scales, global DST_ELEM *copy, global float *copy_scales, int frame,
    int slot, int page_tokens) {
    local float reduced[LANES];
    const int t = get_group_id(0), head = get_group_id(1), kv_heads = get_num_groups(1);
    const size_t row = ((size_t)frame * kv_heads + head) * page_tokens + slot + t;
    #if SRC == DTYPE_I8 && DST == DTYPE_I8

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

    """#

  static let attendDecode = #"""







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

    """#

  static let attendMerge = #"""


    kernel __attribute__((reqd_work_group_size(64, 1, 1))) void attend_merge(
    global const float *part, global const float2 *part_stats, int splits, int group, int n_queries, global float *out,
    global float *lse) {
    const int lid = get_local_id(0);
    const int index = get_group_id(0), n_rows = group * n_queries;
    const int kv_head = index / n_rows, r = index % n_rows;
    const size_t to = (size_t)(kv_head * group + r % group) * n_queries + r / group;
    const size_t from = (size_t)index * splits;

    float m = -INFINITY, l = 0.0f;
    for (int s = 0; s < splits; s++) m = fmax(m, part_stats[from + s].x);
    const float base = m == -INFINITY ? 0.0f : m;
    for (int s = 0; s < splits; s++) l += part_stats[from + s].y * exp(part_stats[from + s].x - base);
    for (int i = lid; i < D4; i += 64) {
    float4 sum = (float4)(0.0f);
    for (int s = 0; s < splits; s++) sum += vload4((from + s) * D4 + i, part) * exp(part_stats[from + s].x - base);
    vstore4(l == 0.0f ? (float4)(0.0f) : sum / l, to * D4 + i, out);
    }
    if (lid == 0) lse[to] = l == 0.0f ? -INFINITY : base + log(l);
    }

    """#

  static let attendPrefill = #"""






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

    load_tile(values, value_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);

    if (all) {
    add_values(p, tile, TK, y, x, acc);
    } else {

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

    """#

  static let attendRagged = #"""




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

    """#

  static let attendTiles = #"""






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

    const int place_of_group = last_tile - (int)get_group_id(0);
    const int block = place_of_group / tiles_of_block, first_row = place_of_group % tiles_of_block * BM;
    const int first_head = (int)get_group_id(1) * sharing, kv_head = first_head / group;
    const int first_query = block * query_block;
    const int n_rows = min(query_block, n_queries - first_query) * sharing;

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

    load_tile(values, value_scales, rows, TK, tile, lid, WG);
    barrier(CLK_LOCAL_MEM_FENCE);

    if (all) {
    add_values(p, tile, TK, y, x, acc);
    } else {

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

    """#

  static let common = #"""



    #ifdef cl_khr_fp16
    #pragma OPENCL EXTENSION cl_khr_fp16 : enable
    #endif

    #define DTYPE_F32 0
    #define DTYPE_F16 1
    #define DTYPE_BF16 2
    #define DTYPE_I8 3


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

    #define TILE_STRIDE (D4 + 1)

    #ifdef DTYPE

    static inline float4 row4(global const ELEM *rows, global const float *scales, int at, int i) {
    float4 x = load4(rows, (size_t)at * D4 + i);
    #if DTYPE == DTYPE_I8
    x *= scales[at];
    #endif
    return x;
    }


    static inline void load_tile(
    global const ELEM *rows, global const float *scales, local const int *at, int n, local float4 *tile, int lid, int width) {
    for (int e = lid; e < n * D4; e += width) {
    const int t = e / D4, i = e % D4;
    tile[t * TILE_STRIDE + i] = at[t] >= 0 ? row4(rows, scales, at[t], i) : (float4)(0.0f);
    }
    }
    #endif


    static inline int row_of(global const int *frames, int page_tokens, int kv_heads, int kv_head, int token) {
    const int page = token / page_tokens;
    return (frames[page] * kv_heads + kv_head) * page_tokens + token - page * page_tokens;
    }


    static inline int token_at(global const int *selected, int sinks, int n_selected, int recent, int place) {
    if (place < sinks) return place;
    place -= sinks;
    return place < n_selected ? selected[place] : recent + place - n_selected;
    }


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


    static inline float logit(float dot_qk, float scale, float softcap, float bias) {
    const float z = dot_qk * scale;
    return (softcap > 0.0f ? softcap * tanh(z / softcap) : z) + bias;
    }

    #ifdef BM


    #define TX 8
    #define WG (TX * BM / RM)
    #define KM (TK / TX)
    #define DM ((D4 + TX - 1) / TX)
    #define HAS_DIM(e) (D4 % TX == 0 || (e) * TX + x < D4)


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

    """#

  static let embed = #"""



    #ifdef WTYPE
    #define WELEM JOIN(ELEM_, WTYPE)

    static inline float element(global const WELEM *rows, global const float *scales, int row, int width, int i) {
    const size_t at = (size_t)row * width + i;
    #if WTYPE == DTYPE_F16
    return vload_half(at, rows);
    #elif WTYPE == DTYPE_BF16
    return as_float((uint)rows[at] << 16);
    #elif WTYPE == DTYPE_I8
    return rows[at] * scales[row];
    #else
    return rows[at];
    #endif
    }

    kernel __attribute__((reqd_work_group_size(64, 1, 1))) void embed(
    global const int *ids, global const int *positions, global const int *types, int has_types, global const WELEM *word,
    global const float *word_scales, global const float *position, global const float *type, int width, global float *x) {
    const int t = get_group_id(0);
    const int id = ids[t], p = positions[t], s = has_types ? types[t] : 0;
    for (int i = get_local_id(0); i < width; i += 64)
    x[(size_t)t * width + i] =
    element(word, word_scales, id, width, i) + position[(size_t)p * width + i] + type[(size_t)s * width + i];
    }
    #endif

    static inline float sum_of(float value, local float *sums, int lid) {
    sums[lid] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_way = 32; half_way > 0; half_way /= 2) {
    if (lid < half_way) sums[lid] += sums[lid + half_way];
    barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float sum = sums[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
    }


    kernel __attribute__((reqd_work_group_size(64, 1, 1))) void layer_norm(
    global float *x, global const float *y, int has_y, int width, global const float *weight, global const float *bias,
    float epsilon) {
    local float sums[64];
    const int lid = get_local_id(0);
    const size_t row = (size_t)get_group_id(0) * width;
    float sum = 0.0f;
    for (int i = lid; i < width; i += 64) {
    const float v = x[row + i] + (has_y ? y[row + i] : 0.0f);
    x[row + i] = v;
    sum += v;
    }
    const float mean = sum_of(sum, sums, lid) / width;
    float squares = 0.0f;
    for (int i = lid; i < width; i += 64) {
    const float v = x[row + i] - mean;
    squares += v * v;
    }
    const float scale = 1.0f / sqrt(sum_of(squares, sums, lid) / width + epsilon);
    for (int i = lid; i < width; i += 64) x[row + i] = (x[row + i] - mean) * scale * weight[i] + bias[i];
    }

    """#

  static let linear = #"""





    #define TILE 64
    #define STEP 16
    #define SIDE (TILE + 4)
    #define WELEM JOIN(ELEM_, WTYPE)
    #define wload4 JOIN(load4_, WTYPE)

    static inline float activate(float x) {
    #if ACT == 1
    return 0.5f * x * (1.0f + erf(x * 0.70710678118654752f));
    #elif ACT == 2
    return 0.5f * x * (1.0f + tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    #elif ACT == 3
    return fmax(x, 0.0f);
    #else
    return x;
    #endif
    }

    kernel __attribute__((reqd_work_group_size(256, 1, 1))) void linear(
    global const float *x, int n, int inputs, global const WELEM *w, int pitch, global const float *scales,
    global const float *bias, int outputs, global float *y) {

    local float xs[STEP * SIDE], ws[STEP * SIDE];
    const int lid = get_local_id(0);
    const int first_token = get_group_id(1) * TILE, first_output = get_group_id(0) * TILE;
    const int tx = lid % 16, ty = lid / 16;

    const int row = lid / 4, column = lid % 4 * 4;
    const int token = first_token + row, output = first_output + row;
    float4 acc[4];
    for (int r = 0; r < 4; r++) acc[r] = (float4)(0.0f);

    for (int start = 0; start < inputs; start += STEP) {
    const int k = start + column;
    float4 a = (float4)(0.0f), b = (float4)(0.0f);
    if (token < n) {
    global const float *from = x + (size_t)token * inputs;
    if (k + 4 <= inputs) {
    a = vload4(0, from + k);
    } else {
    if (k < inputs) a.x = from[k];
    if (k + 1 < inputs) a.y = from[k + 1];
    if (k + 2 < inputs) a.z = from[k + 2];
    }
    }
    if (output < outputs && k < pitch) b = wload4(w, ((size_t)output * pitch + k) / 4);
    xs[(column + 0) * SIDE + row] = a.x;
    xs[(column + 1) * SIDE + row] = a.y;
    xs[(column + 2) * SIDE + row] = a.z;
    xs[(column + 3) * SIDE + row] = a.w;
    ws[(column + 0) * SIDE + row] = b.x;
    ws[(column + 1) * SIDE + row] = b.y;
    ws[(column + 2) * SIDE + row] = b.z;
    ws[(column + 3) * SIDE + row] = b.w;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < STEP; i++) {
    const float4 u = vload4(0, xs + i * SIDE + ty * 4), v = vload4(0, ws + i * SIDE + tx * 4);
    acc[0] += u.x * v;
    acc[1] += u.y * v;
    acc[2] += u.z * v;
    acc[3] += u.w * v;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    }

    for (int r = 0; r < 4; r++) {
    const int t = first_token + ty * 4 + r;
    if (t >= n) return;
    const float sums[4] = {acc[r].x, acc[r].y, acc[r].z, acc[r].w};
    for (int c = 0; c < 4; c++) {
    const int o = first_output + tx * 4 + c;
    if (o >= outputs) break;
    #if WTYPE == DTYPE_I8
    const float z = sums[c] * scales[o] + bias[o];
    #else
    const float z = sums[c] + bias[o];
    #endif
    y[(size_t)t * outputs + o] = activate(z);
    }
    }
    }

    """#

  static let logits = #"""



    #define LANES 256
    #define LELEM JOIN(ELEM_, LTYPE)
    #define OELEM JOIN(ELEM_, OTYPE)

    static inline float at_0(global const float *p, size_t i) { return p[i]; }
    static inline float at_1(global const half *p, size_t i) { return vload_half(i, p); }
    static inline float at_2(global const ushort *p, size_t i) { return as_float((uint)p[i] << 16); }
    #define at_l JOIN(at_, LTYPE)
    #define at_o JOIN(at_, OTYPE)


    #define LOWEST (-80.0f)


    #define ALL(name, type, joined)                                         \
    static inline type name(type x, local type *room) {                   \
    const int lid = get_local_id(0);                                    \
    room[lid] = x;                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                       \
    for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {       \
    if (lid < half_way) {                                             \
    const type a = room[lid], b = room[lid + half_way];             \
    room[lid] = joined;                                             \
    }                                                                 \
    barrier(CLK_LOCAL_MEM_FENCE);                                     \
    }                                                                   \
    const type all = room[0];                                           \
    barrier(CLK_LOCAL_MEM_FENCE);                                       \
    return all;                                                         \
    }
    ALL(sum_all, float, a + b)
    ALL(count_all, int, a + b)
    ALL(max_all, float, fmax(a, b))


    static inline uint key_of(float x) {
    const uint u = as_uint(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
    }

    #ifdef LTYPE


    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_rows(
    global const LELEM *z, int width, global const int *targets, int has_targets, float scale, int wanted, int top_k,
    global float *floats, global int *ints) {
    local float room[LANES], seconds[LANES];
    local int places[LANES];
    local uint bins[256];
    local uint chosen[3];
    const int lid = get_local_id(0), row = get_group_id(0);
    const size_t base = (size_t)row * width;
    const int target = has_targets ? targets[row] : 0;
    if (has_targets && target < 0) return;
    const float y = at_l(z, base + target);
    float m = -INFINITY, second = -INFINITY, total = 0.0f;
    int place = -1, larger = 0, equal = 0, count = 0, bad = 0;
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i);
    bad |= isnan(x) || x == INFINITY;
    if (x > m) {
    second = m;
    m = x;
    place = i;
    } else if (x > second) {
    second = x;
    }
    larger += x > y;
    equal += x == y;
    if (x > -INFINITY) {
    total += x;
    count++;
    }
    }
    room[lid] = m;
    seconds[lid] = second;
    places[lid] = place;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {
    if (lid < half_way) {
    const float a = room[lid], b = room[lid + half_way];
    const int p = places[lid], q = places[lid + half_way];

    const int other = b > a || (b == a && q >= 0 && (p < 0 || q < p));
    seconds[lid] = fmax(fmin(a, b), fmax(seconds[lid], seconds[lid + half_way]));
    room[lid] = other ? b : a;
    places[lid] = other ? q : p;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    }
    m = room[0];
    second = seconds[0];
    place = places[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    bad = count_all(bad, places);
    larger = count_all(larger, places);
    equal = count_all(equal, places);
    count = count_all(count, places);
    total = sum_all(total, room);
    float sum = 0.0f, first = 0.0f, squared = 0.0f, squares = 0.0f, mass = 0.0f;
    if (bad == 0 && count > 0) {
    for (int i = lid; i < width; i += LANES) {
    const float d = fmax((at_l(z, base + i) - m) * scale, LOWEST), e = exp(d);
    sum += e;
    first += d * e;
    squared += d * d * e;
    squares += e * e;
    }
    sum = sum_all(sum, room);
    first = sum_all(first, room);
    squared = sum_all(squared, room);
    squares = sum_all(squares, room);
    if (wanted & 2) {

    uint prefix = 0, mask = 0;
    int left = min(top_k, width);
    for (int shift = 24; shift >= 0; shift -= 8) {
    bins[lid] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = lid; i < width; i += LANES) {
    const uint k = key_of(at_l(z, base + i));
    if ((k & mask) == prefix) atomic_inc(&bins[(k >> shift) & 255u]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid == 0) {
    int bin = 255;
    while (bins[bin] < (uint)left) {
    left -= bins[bin];
    bin--;
    }
    chosen[0] = bin;
    chosen[1] = left;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    prefix |= chosen[0] << shift;
    mask |= 255u << shift;
    left = chosen[1];
    barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i);
    if (key_of(x) > prefix) mass += exp((x - m) * scale);
    }
    mass = sum_all(mass, room);
    const uint bits = prefix & 0x80000000u ? prefix ^ 0x80000000u : ~prefix;
    mass += left * exp((as_float(bits) - m) * scale);
    }
    }
    if (lid == 0) {
    global float *f = floats + (size_t)row * 8;
    global int *n = ints + (size_t)row * 5;
    f[0] = m, f[1] = sum, f[2] = first, f[3] = squared, f[4] = squares, f[5] = second, f[6] = total, f[7] = mass;
    n[0] = bad, n[1] = place, n[2] = larger, n[3] = equal, n[4] = count;
    }
    }
    #endif

    #if defined(LTYPE) && defined(OTYPE)

    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_combined(
    global const LELEM *z, global const OELEM *w, int width, global const int *targets, int has_targets, float a, float b,
    global float *floats, global int *ints) {
    local float room[LANES];
    local int counts[LANES];
    const int lid = get_local_id(0), row = get_group_id(0);
    const size_t base = (size_t)row * width;
    if (has_targets && targets[row] < 0) return;
    float mz = -INFINITY, mw = -INFINITY;
    int bad = 0, count = 0;
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i), y = at_o(w, base + i);
    bad |= isnan(x) || x == INFINITY || (x > -INFINITY && !isfinite(y));
    count += x > -INFINITY;
    mz = fmax(mz, x);
    mw = fmax(mw, y);
    }
    bad = count_all(bad, counts);
    count = count_all(count, counts);
    mz = max_all(mz, room);
    mw = max_all(mw, room);
    if (!isfinite(mw)) mw = 0.0f;
    float m = -INFINITY, sum = 0.0f;
    if (bad == 0 && count > 0) {
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i);
    if (x > -INFINITY) m = fmax(m, a * (x - mz) + b * (at_o(w, base + i) - mw));
    }
    m = max_all(m, room);
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i);
    if (x > -INFINITY) sum += exp(a * (x - mz) + b * (at_o(w, base + i) - mw) - m);
    }
    sum = sum_all(sum, room);
    }
    if (lid == 0) {
    floats[(size_t)row * 4] = mz, floats[(size_t)row * 4 + 1] = mw, floats[(size_t)row * 4 + 2] = m;
    floats[(size_t)row * 4 + 3] = sum;
    ints[(size_t)row * 2] = bad, ints[(size_t)row * 2 + 1] = count;
    }
    }



    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_pairs(
    global const LELEM *p, global const OELEM *q, int width, float scale, int distance, global float *floats,
    global int *ints) {
    local float room[LANES];
    local int counts[LANES];
    const int lid = get_local_id(0), row = get_group_id(0);
    const size_t base = (size_t)row * width;
    float mp = -INFINITY, mq = -INFINITY;
    int bad = 0, count_p = 0, count_q = 0;
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(p, base + i), y = at_o(q, base + i);
    bad |= isnan(x) || x == INFINITY || isnan(y) || y == INFINITY;
    count_p += x > -INFINITY;
    count_q += y > -INFINITY;
    mp = fmax(mp, x);
    mq = fmax(mq, y);
    }
    bad = count_all(bad, counts);
    count_p = count_all(count_p, counts);
    count_q = count_all(count_q, counts);
    mp = max_all(mp, room);
    mq = max_all(mq, room);
    float sum_p = 0.0f, sum_q = 0.0f, forward = 0.0f, backward = 0.0f, js = 0.0f, variation = 0.0f;
    if (bad == 0 && count_p > 0 && count_q > 0) {
    for (int i = lid; i < width; i += LANES) {
    const float x = at_l(p, base + i), y = at_o(q, base + i);
    const float dp = (x - mp) * scale, dq = (y - mq) * scale;
    const float ep = exp(fmax(dp, LOWEST)), eq = exp(fmax(dq, LOWEST));
    sum_p += ep;
    sum_q += eq;
    if (x > -INFINITY) forward += ep * (dp - dq);
    if (y > -INFINITY) backward += eq * (dq - dp);
    }
    sum_p = sum_all(sum_p, room);
    sum_q = sum_all(sum_q, room);
    forward = sum_all(forward, room);
    backward = sum_all(backward, room);
    if (distance) {
    const float lp = log(sum_p), lq = log(sum_q);
    for (int i = lid; i < width; i += LANES) {
    const float a = fmax((at_l(p, base + i) - mp) * scale - lp, LOWEST);
    const float b = fmax((at_o(q, base + i) - mq) * scale - lq, LOWEST);
    const float pa = exp(a), pb = exp(b), x = b - a;
    const float h = -log1p(expm1(-fabs(x)) * 0.5f);

    js += pa * (h - fmax(0.0f, x)) + pb * (h - fmax(0.0f, -x));
    variation += fabs(pa - pb);
    }
    js = sum_all(js, room);
    variation = sum_all(variation, room);
    }
    }
    if (lid == 0) {
    global float *f = floats + (size_t)row * 8;
    f[0] = mp, f[1] = mq, f[2] = sum_p, f[3] = sum_q, f[4] = forward, f[5] = backward, f[6] = js, f[7] = variation;
    ints[(size_t)row * 3] = bad, ints[(size_t)row * 3 + 1] = count_p, ints[(size_t)row * 3 + 2] = count_q;
    }
    }
    #endif

    """#

  static let ngrams = #"""







    #define LANES 256
    #define NONE 0xffffffffu
    #define EVERYTHING (CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)

    #if PLACES
    #define SPACE local
    #else
    #define SPACE global
    #endif



    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
    count_ngrams(global const int *ids, global const int *starts, global const int *reference_starts, int hypotheses,
    int candidates, int max_n, int has_pad, int pad, global const int *listed, int count, int room,
    global uint *scratch, global int *matches) {
    #if PLACES
    local uint memory[6 * PLACES];
    const int most_places = PLACES;
    #else
    global uint *memory = scratch + (size_t)get_group_id(0) * 6 * room;
    const int most_places = room;
    #endif
    local int sum;
    const int lid = get_local_id(0);
    SPACE uint *used = memory + 2 * most_places, *most = memory + 3 * most_places, *table = memory + 4 * most_places;
    for (int item = get_group_id(0); item < count; item += get_num_groups(0)) {
    SPACE uint *before = memory, *now = memory + most_places;
    const int h = listed[item], segment = h / candidates;
    const int first = reference_starts[segment], references = reference_starts[segment + 1] - first;

    int places = 0;
    for (int r = -1; r < references; r++) {
    const int s = r < 0 ? h : hypotheses + first + r;
    const int begin = starts[s], length = starts[s + 1] - begin;
    for (int t = lid; t < length; t += LANES) {
    const int id = ids[begin + t];
    before[places + t] = (uint)id;
    now[places + t] = has_pad && id == pad ? NONE : 0;
    }
    if (lid == 0) now[places + length] = NONE;
    places += length + 1;
    }
    int slots = 16;
    while (slots < 2 * (places - 1) && slots < 2 * most_places) slots *= 2;
    for (int n = 1; n <= max_n; n++) {
    for (int p = lid; p < slots; p += LANES) table[p] = NONE;
    for (int p = lid; p < places; p += LANES) used[p] = most[p] = 0;
    if (lid == 0) sum = 0;
    barrier(EVERYTHING);
    for (int p = lid; p < places; p += LANES) {
    const int is_one = n == 1 ? now[p] != NONE : before[p] != NONE && before[p + 1] != NONE;
    uint found = NONE;
    if (is_one) {
    const uint a = before[p], b = n == 1 ? 0 : before[p + 1];
    uint slot = (a * 0x9e3779b1u) ^ (b * 0x85ebca6bu);
    slot = (slot ^ slot >> 15) * 0xc2b2ae35u;
    slot = (slot ^ slot >> 16) & (uint)(slots - 1);
    while (true) {
    const uint other = atomic_cmpxchg(&table[slot], NONE, (uint)p);
    if (other == NONE) {
    found = (uint)p;
    break;
    }
    if (before[other] == a && (n == 1 || before[other + 1] == b)) {
    found = other;
    break;
    }
    slot = (slot + 1) & (uint)(slots - 1);
    }
    }
    now[p] = found;
    }
    barrier(EVERYTHING);

    int place = starts[h + 1] - starts[h] + 1;
    for (int r = 0; r < references; r++) {
    const int s = hypotheses + first + r, end = place + starts[s + 1] - starts[s];
    for (int p = place + lid; p < end; p += LANES)
    if (now[p] != NONE) atomic_inc(&used[now[p]]);
    barrier(EVERYTHING);
    for (int p = place + lid; p < end; p += LANES)
    if (now[p] != NONE) atomic_max(&most[now[p]], used[now[p]]);
    barrier(EVERYTHING);
    for (int p = place + lid; p < end; p += LANES)
    if (now[p] != NONE) used[now[p]] = 0;
    barrier(EVERYTHING);
    place = end + 1;
    }
    int matched = 0;
    for (int p = lid; p < starts[h + 1] - starts[h]; p += LANES)
    if (now[p] != NONE) matched += atomic_inc(&used[now[p]]) < most[now[p]];
    atomic_add(&sum, matched);
    barrier(EVERYTHING);
    if (lid == 0) matches[(size_t)h * max_n + n - 1] = sum;
    barrier(EVERYTHING);
    SPACE uint *old = before;
    before = now;
    now = old;
    }
    }
    }

    """#

  static let score = #"""




    #define TK 64
    #define DC4 (DC / 4)
    #define STRIDE (DC4 + 1)


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

    """#

  static let topK = #"""




    #define LANES 256
    #define EACH 16
    #define BLOCK (LANES * EACH)

    static inline uint key_of(float score) {
    uint u = as_uint(score);
    if ((u & 0x7fffffffu) > 0x7f800000u) u = 0xff800000u;
    if (u == 0x80000000u) u = 0u;
    return u ^ ((u >> 31) ? 0xffffffffu : 0x80000000u);
    }


    kernel void begin(int rows, int k, global uint2 *state, global uint *histogram) {
    const int i = get_global_id(0);
    if (i < rows) state[i] = (uint2)(0u, (uint)k);
    if (i < rows * 256) histogram[i] = 0u;
    }


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


    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void choose_byte(int shift, global uint2 *state,
    global uint *histogram) {
    local uint above[257];
    const int lid = get_local_id(0), row = get_group_id(0);
    above[lid] = histogram[row * 256 + lid];
    if (lid == 0) above[256] = 0u;
    histogram[row * 256 + lid] = 0u;
    const uint2 now = state[row];
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int step = 1; step < 256; step *= 2) {
    const uint sum = above[lid] + (lid + step < 256 ? above[lid + step] : 0u);
    barrier(CLK_LOCAL_MEM_FENCE);
    above[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (above[lid] >= now.y && above[lid + 1] < now.y)
    state[row] = (uint2)(now.x | ((uint)lid << shift), now.y - above[lid + 1]);
    }


    static inline uint2 count_item(global const float *scores, int begin, int end, uint kth) {
    uint2 n = (uint2)(0u);
    for (int j = begin; j < end; j++) {
    const uint key = key_of(scores[j]);
    n.x += key > kth;
    n.y += key == kth;
    }
    return n;
    }


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


    kernel void all_of(int count, int first, global int *winners) {
    const int j = get_global_id(0);
    if (j < count) winners[j] = first + j;
    }

    """#

  static let vote = #"""


    #define LANES 256
    #define BLOCK 4096


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


    kernel void pool(global const float *votes, int count, int width, global float *pooled) {
    const int j = get_global_id(0);
    if (j >= count) return;
    float top = -INFINITY;
    for (int i = max(0, j - width / 2); i <= min(count - 1, j + width / 2); i++) top = fmax(top, votes[i]);
    pooled[j] = top;
    }

    """#
}
