// The embedding of a token: word + position + type, and LayerNorm, by itself or of a sum.

// x [n][width] = word[id] + position[p] + type[t]. -D WTYPE: element type of the word rows; the other tables are f32.
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

// x = LN(x + y) or LN(x), in place; one work-group per token.
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
