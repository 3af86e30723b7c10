/* The NEON kernels against plain loops in double. Freestanding, as there is no C library for arm64 on a machine that only
 * emulates it: check_neon_source.sh links this with the kernels alone and runs it under qemu. Ends with "N passed, N failed". */
#include <stddef.h>
#include <stdint.h>

#include "tamis_kernels.h"

/* ------------------------------------------------------------------------------- what the program runs on */

static long system_call(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}
void *memcpy(void *restrict to, const void *restrict from, size_t n) {
  for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}
void *memset(void *to, int c, size_t n) {
  for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)c;
  return to;
}
static _Noreturn void leave(int code) {
  for (;;) system_call(94, code, 0, 0);
}
static void say(const char *text) {
  size_t n = 0;
  while (text[n]) n++;
  system_call(64, 1, (long)text, (long)n);
}
static void say_number(int n) {
  char digits[12];
  int at = 11;
  digits[at] = 0;
  do digits[--at] = (char)('0' + n % 10); while (n /= 10);
  say(digits + at);
}
/* The Swift runtime's; a kernel allocates nothing. */
uintptr_t __stack_chk_guard = 0x5eed;
void __stack_chk_fail(void) { leave(3); }
int posix_memalign(void **p, size_t a, size_t n) { (void)p, (void)a, (void)n; leave(4); }
void free(void *p) { (void)p; leave(5); }

static int passed, failed;
static void check(int holds, const char *what, int detail) {
  if (holds) { passed++; return; }
  failed++;
  say("FAIL "), say(what), say(" "), say_number(detail), say("\n");
}

/* ------------------------------------------------------------------------------------------------- doubles */

static double absolute(double x) { return x < 0 ? -x : x; }
static double power_of_e(double x) {
  if (x < -700) return 0;
  double n = __builtin_rint(x * 1.4426950408889634), r = x - n * 0.6931471805599453, term = 1, sum = 1;
  for (int i = 1; i < 24; i++) sum += term *= r / i;
  union { uint64_t u; double f; } scale = {(uint64_t)(1023 + (int64_t)n) << 52};
  return sum * scale.f;
}
static double sine(double x, double phase) { /* phase 0: sin, 1: cos */
  double y = x - __builtin_rint(x / 6.283185307179586) * 6.283185307179586, term = phase == 0 ? y : 1, sum = term;
  for (int i = phase == 0 ? 2 : 1; i < 50; i += 2) sum += term *= -y * y / (i * (i + 1));
  return sum;
}

static uint64_t state = 1;
static float noise(void) { /* [-1, 1) */
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (float)((double)(state >> 11) * 0x1p-52 - 1);
}
static float as_float(uint32_t u) { union { uint32_t u; float f; } x = {u}; return x.f; }
static uint32_t as_bits(float f) { union { float f; uint32_t u; } x = {f}; return x.u; }

static tk_table t;
enum { ROWS = 40, DIM = 256, STRIDE = DIM + 8 };
static _Alignas(64) float floats[ROWS * STRIDE], other[ROWS * STRIDE], wide[1 << 16];
static _Alignas(64) uint16_t halves[1 << 16];
static _Alignas(64) int8_t bytes[ROWS * STRIDE];
static float scales[ROWS];

/* --------------------------------------------------------------------------------------------- conversions */

static void conversions(void) {
  for (int i = 0; i < 1 << 16; i++) halves[i] = (uint16_t)i;
  int wrong = 0;
  t.f16_to_f32(halves, wide, 1 << 16);
  for (int i = 0; i < 1 << 16; i++) {
    union { uint16_t u; _Float16 f; } h = {(uint16_t)i};
    wrong += h.f == h.f ? as_bits(wide[i]) != as_bits((float)h.f) : wide[i] == wide[i];
  }
  check(wrong == 0, "f16_to_f32", wrong);
  wrong = 0;
  t.bf16_to_f32(halves, wide, 1 << 16);
  for (int i = 0; i < 1 << 16; i++) wrong += as_bits(wide[i]) != (uint32_t)i << 16;
  check(wrong == 0, "bf16_to_f32", wrong);
  for (int i = 0; i < 1 << 16; i++) wide[i] = as_float((as_bits(noise()) & 0x807fffff) | (uint32_t)(80 + i % 90) << 23);
  wrong = 0;
  t.f32_to_f16(wide, halves, 1 << 16);
  for (int i = 0; i < 1 << 16; i++) {
    union { _Float16 f; uint16_t u; } h = {(_Float16)wide[i]};
    wrong += halves[i] != h.u;
  }
  check(wrong == 0, "f32_to_f16", wrong);
  wrong = 0;
  t.f32_to_bf16(wide, halves, 1 << 16);
  for (int i = 0; i < 1 << 16; i++) {
    const double down = as_float(as_bits(wide[i]) & 0xffff0000), up = as_float((as_bits(wide[i]) & 0xffff0000) + 0x10000);
    const double below = absolute(wide[i] - down), above = absolute(up - wide[i]);
    const uint16_t low = (uint16_t)(as_bits(wide[i]) >> 16);
    wrong += halves[i] != (below < above || (below == above && low % 2 == 0) ? low : low + 1);
  }
  check(wrong == 0, "f32_to_bf16", wrong);
}

/* -------------------------------------------------------------------------------- rows of all dtypes, decode */

static tk_rows rows_of(int kind, const int32_t *list) {
  const void *base = kind == 0 ? (void *)floats : kind == 3 ? (void *)bytes : (void *)halves;
  tk_rows r = {base, list, STRIDE, kind == 3 ? scales : NULL, 1, NULL, 0};
  return r;
}
/* What the dtype holds, into `other`. */
static void fill_rows(int kind) {
  for (int i = 0; i < ROWS * STRIDE; i++) floats[i] = noise();
  for (int r = 0; r < ROWS; r++) {
    const int at = r * STRIDE;
    if (kind == 1) t.f32_to_f16(floats + at, halves + at, STRIDE), t.f16_to_f32(halves + at, other + at, STRIDE);
    else if (kind == 2) t.f32_to_bf16(floats + at, halves + at, STRIDE), t.bf16_to_f32(halves + at, other + at, STRIDE);
    else if (kind == 3) {
      float top = 0;
      for (int i = 0; i < STRIDE; i++) top = floats[at + i] > top ? floats[at + i] : -floats[at + i] > top ? -floats[at + i] : top;
      scales[r] = t.f32_to_i8(floats + at, bytes + at, STRIDE);
      t.i8_to_f32(bytes + at, scales[r], other + at, STRIDE);
      int wrong = absolute(scales[r] - top / 127) > 1e-8;
      for (int i = 0; i < STRIDE; i++) wrong += absolute(other[at + i] - floats[at + i]) > scales[r] * 0.50001;
      check(wrong == 0, "f32_to_i8", wrong);
    } else for (int i = 0; i < STRIDE; i++) other[at + i] = floats[at + i];
  }
}

static void decode(int kind, int dim, int n, int count, const int32_t *list) {
  static _Alignas(64) float q[8 * DIM], z[8 * ROWS], o[8 * DIM], gathered[ROWS * DIM], qi8_scale[8];
  static uint16_t q16[8 * DIM];
  static int8_t high[8 * DIM], low[8 * DIM];
  static int32_t high_sum[8], low_sum[8];
  const tk_dot dot[] = {t.dot_f32, t.dot_f16, t.dot_bf16, t.dot_i8};
  const tk_accumulate accumulate[] = {t.accumulate_f32, t.accumulate_f16, t.accumulate_bf16, t.accumulate_i8};
  const tk_gather gather[] = {t.gather_f32, t.gather_f16, t.gather_bf16, t.gather_i8};
  for (int i = 0; i < count * dim; i++) q[i] = noise(), o[i] = 0;
  tk_queries queries = {q, q16, high, low, NULL, qi8_scale, high_sum, low_sum, count, dim};
  t.prepare_queries(&queries);
  const tk_rows r = rows_of(kind, list);
  gather[kind](&r, n, dim, gathered);
  dot[kind](&r, n, &queries, z, ROWS);
  int wrong = 0;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < dim; i++) wrong += gathered[j * dim + i] != other[(list ? list[j] : j) * STRIDE + i];
  check(wrong == 0, "gather", kind * 1000 + dim);
  wrong = 0;
  for (int g = 0; g < count; g++) {
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int i = 0; i < dim; i++) sum += (double)q[g * dim + i] * gathered[j * dim + i];
      wrong += !(absolute(z[g * ROWS + j] - sum) < 2e-6 * dim);
    }
  }
  check(wrong == 0, "dot", kind * 1000 + dim);
  /* softmax in two blocks, then p . v */
  const float scale = 0.3f;
  const int cut = n / 2;
  static double want[8][DIM];
  for (int g = 0; g < count; g++) {
    double total = 0;
    for (int i = 0; i < dim; i++) want[g][i] = 0;
    for (int j = 0; j < n; j++) {
      const double p = power_of_e(scale * (double)z[g * ROWS + j]);
      total += p;
      for (int i = 0; i < dim; i++) want[g][i] += p * gathered[j * dim + i];
    }
    for (int i = 0; i < dim; i++) want[g][i] /= total;
  }
  float m[8], l[8];
  for (int g = 0; g < count; g++) m[g] = -__builtin_inff(), l[g] = 0;
  for (int block = 0; block < 2; block++) {
    const int from = block ? cut : 0, to = block ? n : cut;
    if (from == to) continue;
    for (int g = 0; g < count; g++) t.scale_by(o + g * dim, dim, t.softmax_block(z + g * ROWS + from, to - from, scale * 1.44269504f, m + g, l + g));
    tk_rows part = r;
    if (list) part.rows = list + from;
    else part.base = (const char *)r.base + from * STRIDE * (kind == 0 ? 4 : kind == 3 ? 1 : 2), part.scale = r.scale ? r.scale + from : NULL;
    accumulate[kind](&part, to - from, z + from, ROWS, count, dim, o);
  }
  wrong = 0;
  for (int g = 0; g < count; g++)
    for (int i = 0; i < dim; i++) wrong += !(absolute(o[g * dim + i] / l[g] - want[g][i]) < 2e-6);
  check(wrong == 0, "softmax and accumulate", kind * 1000 + dim);
}

/* ------------------------------------------------------------------------------------------------- the rest */

static void rotation(void) {
  enum { HALF = 21 };
  static double frequency[HALF];
  static float c[HALF], s[HALF], x[DIM], y[DIM];
  for (int i = 0; i < HALF; i++) frequency[i] = power_of_e(-0.4 * i);
  for (int position = -3; position < 5000; position += 577) {
    t.angles(position, frequency, HALF, c, s);
    double worst = 0;
    for (int i = 0; i < HALF; i++) {
      const double angle = position * frequency[i], a = absolute(c[i] - sine(angle, 1)), b = absolute(s[i] - sine(angle, 0));
      worst = a > worst ? a : worst, worst = b > worst ? b : worst;
    }
    check(worst < 1e-7, "angles", position < 0 ? 0 : position);
    for (int interleaved = 0; interleaved < 2; interleaved++) {
      for (int i = 0; i < 48; i++) x[i] = y[i] = noise();
      (interleaved ? t.rotate_interleaved : t.rotate_half)(y, 1, 48, HALF, c, s, 0);
      worst = 0;
      for (int i = 0; i < HALF; i++) {
        const int a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + HALF;
        worst += absolute(y[a] - ((double)x[a] * c[i] - (double)x[b] * s[i])) + absolute(y[b] - ((double)x[b] * c[i] + (double)x[a] * s[i]));
      }
      for (int i = 2 * HALF; i < 48; i++) worst += y[i] != x[i];
      check(worst < 1e-5, interleaved ? "rotate_interleaved" : "rotate_half", position < 0 ? 0 : position);
    }
  }
}

static void votes(void) {
  static float x[1003], y[1003], out[1003];
  static int32_t index[1003];
  static uint32_t histogram[2048];
  for (int i = 0; i < 1003; i++) x[i] = y[i] = 5 * noise();
  x[7] = y[7] = __builtin_nanf("");
  x[9] = x[700] = y[9] = y[700] = 3;
  /* everything above 3, and one of the two that equal it */
  const uint32_t three = (as_bits(3.0f) | 0x80000000u) - 0x007fffffu;
  const ptrdiff_t n = t.emit_top(x, 1003, three, 1, 10, index);
  int wrong = 0, next = 0;
  for (int i = 0; i < 1003; i++)
    if (x[i] > 3 || i == 9) wrong += next >= n || index[next] != i + 10, next++;
  check(wrong == 0 && next == n, "emit_top", wrong);
  t.key_histogram(x, 1003, 32, 0, 21, 2048, histogram);
  uint32_t total = 0, above = 0;
  for (uint32_t i = 0; i < 2048; i++) total += histogram[i], above += i > three >> 21 ? histogram[i] : 0;
  int larger = 0;
  for (int i = 0; i < 1003; i++) larger += x[i] > 3 && ((as_bits(x[i]) | 0x80000000u) - 0x007fffffu) >> 21 > three >> 21;
  check(total == 1003 && above == (uint32_t)larger && histogram[0] == 1, "key_histogram", (int)total);
  float m = 0;
  double sum = 0, top = -1e30;
  for (int i = 0; i < 1003; i++) top = x[i] > top ? x[i] : top;
  const float got = t.vote_exp(x, 1003, &m, NULL);
  wrong = m != (float)top || x[7] != 0;
  for (int i = 0; i < 1003; i++) {
    if (i == 7) continue;
    const double e = power_of_e(y[i] - top);
    sum += e, wrong += !(absolute(x[i] - e) < 1e-6);
  }
  check(wrong == 0 && absolute(got - sum) < 1e-4 * sum, "vote_exp", wrong);
  t.max_pool(x, 1003, 5, out);
  wrong = 0;
  for (int i = 0; i < 1003; i++) {
    float best = x[i];
    for (int j = i < 2 ? 0 : i - 2; j <= i + 2 && j < 1003; j++) best = x[j] > best ? x[j] : best;
    wrong += out[i] != best;
  }
  check(wrong == 0, "max_pool", wrong);
  const float c[3] = {0.5f, 2, -1};
  t.vote_sum(y + 10, 300, c, 3, 300, out);
  wrong = 0;
  for (int i = 0; i < 300; i++) wrong += !(absolute(out[i] - (0.5 * y[10 + i] + 2.0 * y[310 + i] - y[610 + i])) < 1e-5);
  check(wrong == 0, "vote_sum", wrong);
  for (int i = 10; i < 500; i++) out[i] = y[i];
  t.scale_cap(out + 10, 490, 0.5f, 1.5f);
  wrong = 0;
  for (int i = 10; i < 500; i++) {
    const double e = power_of_e(2 * (y[i] * 0.5 / 1.5));
    wrong += !(absolute(out[i] - 1.5 * (e - 1) / (e + 1)) < 2e-6);
  }
  check(wrong == 0, "scale_cap", wrong);
}

static void tiles(int dim, int count) {
  static _Alignas(64) int8_t tile8[3 * 16 * DIM];
  static _Alignas(64) uint16_t tile16[3 * 16 * DIM];
  static float q[8 * DIM], z[8 * 48], qs[8], unit[48];
  static uint16_t q16[8 * DIM], row16[DIM];
  static int8_t high[8 * DIM], low[8 * DIM], row8[DIM];
  static int32_t hs[8], ls[8];
  static double keys8[48][DIM], keys16[48][DIM];
  for (int i = 0; i < count * dim; i++) q[i] = noise();
  for (int r = 0; r < 48; r++) {
    static float x[DIM], y[DIM];
    for (int i = 0; i < dim; i++) x[i] = noise();
    unit[r] = t.f32_to_i8(x, row8, dim);
    t.pack_tile_i8(row8, dim, tile8 + r / 16 * 16 * dim, r % 16);
    t.f32_to_bf16(x, row16, dim), t.bf16_to_f32(row16, y, dim);
    t.pack_tile_bf16(row16, dim, tile16 + r / 16 * 16 * dim, r % 16);
    for (int i = 0; i < dim; i++) keys8[r][i] = (double)row8[i] * unit[r], keys16[r][i] = y[i];
  }
  tk_queries queries = {q, q16, high, low, NULL, qs, hs, ls, count, dim};
  t.prepare_queries(&queries);
  for (int kind = 0; kind < 2; kind++) {
    if (kind) t.score_bf16(tile16, NULL, 3, &queries, z, 48);
    else t.score_i8(tile8, unit, 3, &queries, z, 48);
    int wrong = 0;
    for (int g = 0; g < count; g++) {
      for (int r = 0; r < 48; r++) {
        double sum = 0;
        for (int i = 0; i < dim; i++) sum += q[g * dim + i] * (kind ? keys16 : keys8)[r][i];
        wrong += !(absolute(z[g * 48 + r] - sum) < 2e-6 * dim);
      }
    }
    check(wrong == 0, kind ? "score_bf16" : "score_i8", dim);
  }
}

/* Attention of a panel: lane i sees keys 0 .. i + 5; lane 31 is unused. */
static void panel(int dim) {
  enum { KEYS = 37, FIRST = 16 };
  static _Alignas(64) float k[KEYS * DIM], v[KEYS * DIM], q[32 * DIM], qT[32 * DIM], oT[32 * DIM], sT[KEYS * 32], out[32 * DIM];
  static _Alignas(64) float m[32], l[32], rescale[32], lse[32], bias[32];
  static _Alignas(64) int32_t lo[32], hi[32];
  const float *from[32];
  float *to[32];
  const float scale = 0.2f, log2e = 1.44269504f;
  for (int i = 0; i < KEYS * dim; i++) k[i] = noise(), v[i] = noise();
  for (int i = 0; i < 32 * dim; i++) q[i] = noise(), oT[i] = 0;
  for (int i = 0; i < 32; i++) {
    from[i] = i < 31 ? q + i * dim : NULL, to[i] = i < 31 ? out + i * dim : NULL;
    lo[i] = 0, hi[i] = i < 31 ? i + 6 : 0, m[i] = -__builtin_inff(), l[i] = 0, bias[i] = 0.1f * (float)i;
  }
  t.prefill.pack_queries_f32(from, dim, 1, qT);
  for (int first = 0; first < KEYS; first += FIRST) {
    const int n = KEYS - first < FIRST ? KEYS - first : FIRST;
    t.prefill.scores_f32(k + first * dim, dim, n, qT, dim, sT);
    if (t.prefill.softmax_f32(sT, n, first, lo, hi, scale * log2e, 2, bias, m, l, rescale)) t.prefill.scale_panel(oT, dim, rescale);
    t.prefill.accumulate_f32(v + first * dim, dim, n, sT, dim, oT);
  }
  t.prefill.finish_panel(oT, dim, m, l, to, lse);
  int wrong = 0;
  for (int i = 0; i < 31; i++) {
    static double want[DIM];
    double total = 0;
    for (int x = 0; x < dim; x++) want[x] = 0;
    for (int j = 0; j < hi[i]; j++) {
      double z = 0;
      for (int x = 0; x < dim; x++) z += (double)q[i * dim + x] * k[j * dim + x];
      const double e = power_of_e(2 * z * scale / 2), p = power_of_e(2 * (e - 1) / (e + 1) + (j == 0 ? bias[i] : 0));
      total += p;
      for (int x = 0; x < dim; x++) want[x] += p * v[j * dim + x];
    }
    for (int x = 0; x < dim; x++) wrong += !(absolute(out[i * dim + x] - want[x] / total) < 1e-5);
    wrong += !(absolute(power_of_e(lse[i]) / total - 1) < 1e-5);
  }
  check(wrong == 0, "prefill", dim);
}

/* ------------------------------------------------------------------------------------------ linear layers */

static void linear(int rows, int inputs, int outputs) {
  enum { MOST = 48 };
  static float x[20 * 320], w[MOST * 320], y[20 * MOST], bias[MOST];
  static _Alignas(64) uint8_t panels[MOST * 320 * 4], narrow[20 * 640];
  static int32_t offset[20];
  static float row_scale[20], column_scale[MOST];
  const tk_linear *l = &t.linear;
  int n = (outputs + l->panel - 1) / l->panel;
  for (int i = 0; i < rows * 320; i++) x[i] = i % 320 < inputs ? noise() : 0;
  for (int i = 0; i < MOST * 320; i++) w[i] = noise();
  for (int o = 0; o < MOST; o++) bias[o] = noise();
  for (int kind = 0; kind < 3; kind++) {
    int per = kind == 0 ? 1 : kind == 1 ? 2 : 4 / l->i8_input_bytes, words = (inputs + 4 * per - 1) / (4 * per) * 4;
    int row_bytes = kind == 0 ? l->f32_row_bytes : kind == 1 ? l->bf16_row_bytes : l->i8_row_bytes;
    for (int p = 0; p < n; p++) {
      const float *from[MOST];
      for (int o = 0; o < l->panel; o++) {
        int at = p * l->panel + o;
        from[o] = at < outputs ? w + at * 320 : NULL;
        float top = 0;
        for (int i = 0; i < inputs; i++) top = w[at * 320 + i] > top ? w[at * 320 + i] : -w[at * 320 + i] > top ? -w[at * 320 + i] : top;
        column_scale[at] = top / 127;
      }
      void *to = panels + p * words * row_bytes;
      if (kind == 0) l->pack_f32(from, inputs, words, to);
      if (kind == 1) l->pack_bf16(from, inputs, words, to);
      if (kind == 2) l->pack_i8(from, column_scale + p * l->panel, inputs, words, to);
    }
    for (int r = 0; r < rows; r++) {
      if (kind == 1) l->round_row(x + r * 320, inputs, words * per, (uint16_t *)(narrow + r * 640));
      if (kind == 2) {
        uint32_t top = l->largest(x + r * 320, inputs);
        row_scale[r] = l->quantise_row(x + r * 320, inputs, words * per, top, narrow + r * 640, offset + r);
      }
    }
    if (kind == 0) l->gemm_f32(x, 1280, rows, panels, n, words, y, MOST * 4);
    if (kind == 1) l->gemm_bf16(narrow, 640, rows, panels, n, words, y, MOST * 4);
    if (kind == 2) l->gemm_i8(narrow, 640, rows, panels, n, words, y, MOST * 4);
    tk_finish how = {kind == 2 ? row_scale : NULL, kind == 2 ? column_scale : NULL, kind == 2 ? offset : NULL, bias, 0, NULL, 0, NULL};
    l->finish(y, MOST * 4, rows, n * l->panel, &how, NULL, 0);
    int wrong = 0;
    for (int r = 0; r < rows; r++) {
      for (int o = 0; o < outputs; o++) {
        double sum = bias[o];
        for (int i = 0; i < inputs; i++) sum += (double)x[r * 320 + i] * w[o * 320 + i];
        wrong += absolute(y[r * MOST + o] - sum) > (kind == 0 ? 2e-5 : kind == 1 ? 0.05 : 0.2);
      }
    }
    check(wrong == 0, kind == 0 ? "gemm_f32" : kind == 1 ? "gemm_bf16" : "gemm_i8", wrong);
  }
  double mean = 0, variance = 0;
  for (int i = 0; i < inputs; i++) mean += x[i] / (double)inputs;
  for (int i = 0; i < inputs; i++) variance += (x[i] - mean) * (x[i] - mean) / inputs;
  l->normalise(x, inputs, 320, w, w + 320, 0.25f, y);
  double root = 1;
  for (int i = 0; i < 40; i++) root = (root + (variance + 0.25) / root) / 2;
  int wrong = 0;
  for (int i = 0; i < 320; i++) wrong += absolute(y[i] - (i < inputs ? (x[i] - mean) / root * w[i] + w[320 + i] : 0)) > 1e-5;
  check(wrong == 0, "normalise", wrong);
}


void _start(void) {
  tk_fill_neon(&t);
  conversions();
  static int32_t list[ROWS];
  for (int i = 0; i < ROWS; i++) list[i] = (i * 17 + 3) % ROWS;
  const int dims[] = {8, 24, 40, 64, 128, 136, 256}, counts[] = {1, 2, 3, 4, 5, 7};
  for (int kind = 0; kind < 4; kind++) {
    fill_rows(kind);
    for (int d = 0; d < 7; d++)
      for (int c = 0; c < 6; c++) decode(kind, dims[d], 1 + (d * 11 + c * 7) % ROWS, counts[c], (d + c) % 2 ? list : NULL);
  }
  rotation();
  votes();
  for (int d = 0; d < 7; d++) tiles(dims[d], counts[d % 6]), panel(dims[d]);
  linear(1, 5, 3), linear(7, 37, 16), linear(13, 300, 33), linear(20, 64, 48);
  say_number(passed), say(" passed, "), say_number(failed), say(" failed\n");
  leave(failed != 0);
}
