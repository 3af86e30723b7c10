/* Fuzz bytes as numbers, and the checks every target makes of a status. */
#ifndef TAMIS_FUZZ_INPUT_H
#define TAMIS_FUZZ_INPUT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tamis.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
  const uint8_t *data;
  size_t left;
} input;

/* The next n <= 8 bytes; zeros once the input has run out. */
static inline uint64_t take(input *in, size_t n) {
  uint64_t value = 0;
  if (n > in->left) n = in->left;
  memcpy(&value, in->data, n);
  in->data += n;
  in->left -= n;
  return value;
}

static inline uint32_t below(input *in, uint32_t n) { return (uint32_t)(take(in, 2) % n); }
static inline int chance(input *in, uint32_t one_in) { return below(in, one_in) == one_in - 1; }

/* Mostly small numbers, now and then one on an edge. */
static inline int64_t wild(input *in) {
  static const int64_t edges[] = {0,         -1,        1,         INT32_MAX,     INT32_MIN,     (int64_t)INT32_MAX + 1,
                                  INT64_MAX, INT64_MIN, INT64_MAX / 4, INT64_MIN / 4, (int64_t)1 << 32, -((int64_t)1 << 40)};
  switch (below(in, 8)) {
    case 0: return edges[below(in, sizeof edges / sizeof *edges)];
    case 1: return (int64_t)take(in, 8);
    case 2: return -(int64_t)below(in, 40);
    default: return below(in, 70);
  }
}

static inline int32_t wild32(input *in) {
  int64_t value = wild(in);
  return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static inline float wild_float(input *in) {
  uint32_t bits = (uint32_t)take(in, 4);
  float value;
  if (!chance(in, 4)) return (float)below(in, 64) / 16.0f;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: not so: %s; last error: %s\n", __FILE__, __LINE__, #condition, tamis_last_error()); \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* Whatever was passed: a documented status, no bug of ours, and a sentence. */
static inline tamis_status judged(tamis_status status) {
  MUST(strcmp(tamis_status_name(status), "unknown status") != 0);
  MUST(status != TAMIS_ERR_INTERNAL);
  if (status != TAMIS_OK) MUST(tamis_last_error()[0] != 0);
  return status;
}

#endif
