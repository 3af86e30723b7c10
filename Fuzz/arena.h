/* Arguments of C calls from the fuzz bytes: addresses, tensors, struct sizes, progress callbacks.
 *
 * A tensor or an array that the library may accept lies wholly inside the arena: what would reach outside it, but not outside
 * the address space, is a caller's lie that no library can see, and is not tried. */
#ifndef TAMIS_FUZZ_ARENA_H
#define TAMIS_FUZZ_ARENA_H

#include "input.h"

enum { ARENA = 1 << 18, MAX_ELEMENTS = 1 << 13 };

static _Alignas(64) uint8_t arena[ARENA];

/* An address in the arena with room for n bytes; now and then NULL or misaligned. */
static inline void *address(input *in, size_t n) {
  if (chance(in, 24)) return NULL;
  size_t at = ((size_t)take(in, 3) % (ARENA - n - 16)) & ~(size_t)15;
  return arena + at + (chance(in, 24) ? below(in, 8) : 0);
}

/* Whether offsets of these strides, in elements of `size` bytes, stay inside [base, base + ARENA). */
static inline int inside(const void *base, const int64_t *shape, const int64_t *stride, int dims, int64_t size) {
  __int128 low = 0, high = size;
  for (int i = 0; i < dims; i++) {
    __int128 span = (__int128)stride[i] * (shape[i] - 1) * size;
    if (span < 0) low += span;
    else high += span;
  }
  __int128 at = (const uint8_t *)base - arena;
  return at + low >= 0 && at + high <= ARENA;
}

static inline void tame(input *in, tamis_tensor *t) {
  const int dims = t->ndim < 0 ? 0 : t->ndim > TAMIS_MAX_DIMS ? TAMIS_MAX_DIMS : t->ndim;
  const int64_t size = (int64_t)tamis_dtype_size(t->dtype);
  int64_t elements = 1;
  for (int i = 0; i < dims; i++) {
    if (t->shape[i] <= 0 || t->shape[i] > INT32_MAX) return; /* refused for its shape */
    if (t->shape[i] > MAX_ELEMENTS / elements) t->shape[i] = 1 + t->shape[i] % 3;
    elements *= t->shape[i];
  }
  if (t->data && size && !inside(t->data, t->shape, t->stride, dims, size)) {
    t->data = arena + ((ARENA / 2) & ~(size_t)15);
    for (int i = 0; i < dims; i++) t->stride[i] %= ARENA / 16 / t->shape[i] / 4;
  }
  if (t->scale && !inside(t->scale, t->shape, t->scale_stride, dims - 1, 4)) {
    t->scale = (float *)(void *)(arena + ARENA / 2);
    for (int i = 0; i < dims; i++) t->scale_stride[i] %= ARENA / 16 / t->shape[i] / 4;
  }
  (void)in;
}

/* A packed tensor of the shape that fits, with some of it wild. */
static inline tamis_tensor tensor(input *in, int ndim, const int64_t *shape) {
  tamis_tensor t;
  int64_t step = 1, rows = 1;
  memset(&t, 0, sizeof t);
  t.dtype = chance(in, 3) ? (tamis_dtype)below(in, 5) : TAMIS_F32;
  t.ndim = ndim;
  t.data = address(in, 1 << 14);
  if (chance(in, 3)) t.scale = (const float *)address(in, 1 << 12);
  for (int i = ndim - 1; i >= 0; i--) {
    t.shape[i] = shape[i];
    t.stride[i] = step;
    step *= shape[i];
    if (i < ndim - 1) {
      t.scale_stride[i] = rows;
      rows *= shape[i];
    }
  }
  while (chance(in, 4)) {
    const uint32_t i = below(in, TAMIS_MAX_DIMS);
    switch (below(in, 6)) {
      case 0: t.shape[i] = wild(in); break;
      case 1: t.stride[i] = wild(in); break;
      case 2: t.scale_stride[i] = wild(in); break;
      case 3: t.ndim = wild32(in); break;
      case 4: t.dtype = wild32(in); break;
      default: t.shape[i] = 1 + below(in, 9); break;
    }
  }
  tame(in, &t);
  return t;
}

static inline tamis_tensor tensor3(input *in, int64_t a, int64_t b, int64_t c) { return tensor(in, 3, (int64_t[]){a, b, c}); }
static inline tamis_tensor tensor2(input *in, int64_t a, int64_t b) { return tensor(in, 2, (int64_t[]){a, b}); }
static inline const tamis_tensor *maybe(input *in, const tamis_tensor *t) { return chance(in, 16) ? NULL : t; }

/* The struct_size of a struct of `size` bytes: now and then wild, but never one that claims bytes we do not own. */
static inline uint32_t struct_size(input *in, size_t size) {
  const uint32_t claimed = chance(in, 8) ? (uint32_t)wild32(in) : (uint32_t)size;
  return claimed > size && claimed <= 4096 ? (uint32_t)size : claimed;
}

static inline int32_t go_on(double done, void *user) { return done >= 0 && ++*(int *)user < 3; }

#endif
