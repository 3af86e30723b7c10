/* The whole test framework: a check counts and prints, a suite is a function. */
#ifndef TAMIS_TEST_CHECK_H
#define TAMIS_TEST_CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tamis.h>

extern int checks_passed, checks_failed;

#define CHECK(condition) check_that((condition) != 0, __FILE__, __LINE__, #condition, "")
/* The call succeeds. */
#define OK(call) check_status((call), TAMIS_OK, "", __FILE__, __LINE__, #call)
/* The call fails with this status and a sentence that holds `word`, the name of the argument. */
#define FAILS(status, word, call) check_status((call), (status), (word), __FILE__, __LINE__, #call)

static inline void check_that(int holds, const char *file, int line, const char *what, const char *seen) {
  if (holds) {
    __atomic_add_fetch(&checks_passed, 1, __ATOMIC_RELAXED);
  } else {
    __atomic_add_fetch(&checks_failed, 1, __ATOMIC_RELAXED);
    printf("FAIL %s:%d: %s%s\n", file, line, what, seen);
  }
}

static inline void check_status(tamis_status status, tamis_status expected, const char *word, const char *file, int line,
                                const char *what) {
  char seen[1600] = "";
  const char *sentence = status == TAMIS_OK ? "" : tamis_last_error();
  int holds = status == expected && strstr(sentence, word) != NULL;
  if (!holds)
    snprintf(seen, sizeof seen, "\n     gave %s \"%s\"; expected %s with \"%s\"", tamis_status_name(status), sentence,
             tamis_status_name(expected), word);
  check_that(holds, file, line, what, seen);
}

/* A packed tensor: tensor(data, TAMIS_F32, 3, 2, 5, 8). */
static inline tamis_tensor tensor(const void *data, tamis_dtype dtype, int ndim, ...) {
  tamis_tensor t;
  va_list dims;
  int64_t step = 1, rows = 1;
  memset(&t, 0, sizeof t);
  t.data = (void *)(uintptr_t)data;
  t.dtype = dtype;
  t.ndim = ndim;
  va_start(dims, ndim);
  for (int i = 0; i < ndim; i++) t.shape[i] = va_arg(dims, int);
  va_end(dims);
  for (int i = ndim - 1; i >= 0; i--) {
    t.stride[i] = step;
    step *= t.shape[i];
    if (i < ndim - 1) {
      t.scale_stride[i] = rows;
      rows *= t.shape[i];
    }
  }
  return t;
}

/* Numbers in [-1, 1) that are the same on every run. */
static inline void fill_random(float *out, size_t n, uint64_t seed) {
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (size_t i = 0; i < n; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    out[i] = (float)((double)(state >> 11) / 4503599627370496.0 - 1.0);
  }
}

static inline double largest_difference(const float *a, const float *b, size_t n) {
  double largest = 0;
  for (size_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    if (!(d <= largest)) largest = d; /* a NaN sticks */
  }
  return largest;
}

/* Softmax attention of one query over n keys, in double: out[d], returns the log-sum-exp. */
static inline double oracle_attention(const float *q, const float *k, const float *v, int64_t n, int64_t row, int d,
                                      double scale, double *out) {
  double top = -INFINITY, sum = 0;
  double *z = (double *)malloc(sizeof(double) * (size_t)n);
  for (int64_t j = 0; j < n; j++) {
    z[j] = 0;
    for (int i = 0; i < d; i++) z[j] += (double)q[i] * (double)k[j * row + i];
    z[j] *= scale;
    if (z[j] > top) top = z[j];
  }
  for (int i = 0; i < d; i++) out[i] = 0;
  for (int64_t j = 0; j < n; j++) {
    double p = exp(z[j] - top);
    sum += p;
    for (int i = 0; i < d; i++) out[i] += p * (double)v[j * row + i];
  }
  for (int i = 0; i < d; i++) out[i] /= sum;
  free(z);
  return top + log(sum);
}

static inline tamis_context *make_context(int32_t threads) {
  tamis_context_options options = TAMIS_CONTEXT_OPTIONS_INIT;
  tamis_context *context = NULL;
  options.n_threads = threads;
  OK(tamis_context_create(&options, &context));
  return context;
}

void test_core(void);
void test_tensors(void);
void test_attention(void);
void test_sinks(void);
void test_sparse_attention(void);
void test_kv_cache(void);
void test_snapshots(void);
void test_retrieval(void);
void test_ops(void);
void test_sparse_prefill(void);
void test_weights(void);
void test_text_scores(void);
void test_clusters(void);
void test_dhsa(void);
void test_annotation(void);
void test_compression(void);
void test_metrics(void);
void test_logit_metrics(void);
void test_tasks(void);
void test_signals(void);
void test_threads(void);
void test_opencl(void);
void test_encoder(void);
void test_tokenizer(void);

#endif
