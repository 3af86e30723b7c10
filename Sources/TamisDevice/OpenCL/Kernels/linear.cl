// y = act(x W^T + b), f32 products of x with weights of any storage. One work-group per tile of 64 tokens and 64 outputs, one
// work-item per 4 by 4 of it. A sum runs over the inputs in one order, whatever else is in the batch.
// -D WTYPE: element type of the weights, numbered as tamis_dtype. -D ACT: 0 none, 1 gelu, 2 its tanh form, 3 relu.
// w [outputs][pitch], pitch a multiple of 4 >= inputs, zeros behind the inputs; i8 rows have a scale. x [n][inputs].

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
  // Columns of x and of w: the 64 numbers that meet in one product lie side by side.
  local float xs[STEP * SIDE], ws[STEP * SIDE];
  const int lid = get_local_id(0);
  const int first_token = get_group_id(1) * TILE, first_output = get_group_id(0) * TILE;
  const int tx = lid % 16, ty = lid / 16;
  // What this work-item brings: four inputs of one row of each.
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
