/* tamis/ops.h: conversion, rotation, top-k. */
#include "check.h"

static void test_convert(tamis_context *c) {
  float from[8] = {0, 1, -2.5f, 65504, 1e9f, NAN, INFINITY, 3.0517578125e-5f}, back[8];
  uint16_t half[8];
  int8_t bytes[8];
  float scale[1];
  tamis_tensor f = tensor(from, TAMIS_F32, 2, 1, 8), h = tensor(half, TAMIS_F16, 2, 1, 8), b = tensor(back, TAMIS_F32, 2, 1, 8);
  tamis_tensor i = tensor(bytes, TAMIS_I8, 2, 1, 8);
  OK(tamis_convert(c, &f, &h));
  CHECK(half[0] == 0 && half[1] == 0x3c00 && half[2] == 0xc100 && half[3] == 0x7bff && half[4] == 0x7c00);
  CHECK((half[5] & 0x7fff) > 0x7c00 && half[6] == 0x7c00 && half[7] == 0x0200);
  OK(tamis_convert(c, &h, &b));
  CHECK(back[2] == -2.5f && isnan(back[5]) && back[7] == from[7]);
  h.dtype = TAMIS_BF16;
  OK(tamis_convert(c, &f, &h));
  CHECK(half[1] == 0x3f80 && half[6] == 0x7f80);
  const float row[8] = {127, -127, 0, 1, 2.5f, NAN, -INFINITY, 63};
  memcpy(from, row, sizeof row);
  i.scale = scale;
  OK(tamis_convert(c, &f, &i));
  CHECK(scale[0] == 1 && bytes[0] == 127 && bytes[1] == -127 && bytes[4] == 2 && bytes[5] == 0 && bytes[6] == 0);
  memset(from, 0, sizeof from);
  OK(tamis_convert(c, &f, &i));
  CHECK(scale[0] == 0 && bytes[0] == 0);
}

static void test_rope(tamis_context *c) {
  enum { N = 3, D = 8 };
  float x[N * D], y[N * D], z[N * D];
  const int64_t positions[N] = {7, 8, 9}, far[N] = {0, 0, INT64_MAX};
  tamis_rope rope = TAMIS_ROPE_INIT;
  rope.style = TAMIS_ROPE_HALF;
  fill_random(x, N * D, 3);
  tamis_tensor tx = tensor(x, TAMIS_F32, 2, N, D), ty = tensor(y, TAMIS_F32, 2, N, D), tz = tensor(z, TAMIS_F32, 2, N, D);
  OK(tamis_rope_apply(c, &rope, &tx, NULL, 7, &ty));
  double worst = 0;
  for (int t = 0; t < N; t++)
    for (int i = 0; i < D / 2; i++) {
      double angle = (double)(7 + t) * pow(10000, -2.0 * i / D), a = (double)x[t * D + i], b = (double)x[t * D + i + D / 2];
      worst = fmax(worst, fabs(a * cos(angle) - b * sin(angle) - (double)y[t * D + i]));
      worst = fmax(worst, fabs(a * sin(angle) + b * cos(angle) - (double)y[t * D + i + D / 2]));
    }
  CHECK(worst < 1e-6);
  OK(tamis_rope_apply(c, &rope, &tx, positions, INT64_MAX, &tz)); /* first is not read */
  CHECK(memcmp(y, z, sizeof y) == 0);
  memcpy(z, x, sizeof x);
  OK(tamis_rope_apply(c, &rope, &tz, NULL, 7, &tz)); /* in place */
  CHECK(memcmp(y, z, sizeof y) == 0);
  rope.style = TAMIS_ROPE_NONE;
  OK(tamis_rope_apply(c, &rope, &tx, NULL, 7, &tz));
  CHECK(memcmp(x, z, sizeof x) == 0);

  rope.style = TAMIS_ROPE_HALF;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "positions[2]", tamis_rope_apply(c, &rope, &tx, far, 0, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "positions",
        tamis_rope_apply(c, &rope, &tx, (const int64_t *)(const void *)((const char *)positions + 4), 0, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "first", tamis_rope_apply(c, &rope, &tx, NULL, INT64_MAX, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "first", tamis_rope_apply(c, &rope, &tx, NULL, INT64_MIN, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rope", tamis_rope_apply(c, NULL, &tx, NULL, 0, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "x is NULL", tamis_rope_apply(c, &rope, NULL, NULL, 0, &tz));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_rope_apply(c, &rope, &tx, NULL, 0, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_rope_apply(NULL, &rope, &tx, NULL, 0, &tz));
  tamis_tensor shifted = tensor(x + 1, TAMIS_F32, 2, N - 1, D), part = tensor(x, TAMIS_F32, 2, N - 1, D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps", tamis_rope_apply(c, &rope, &part, NULL, 0, &shifted));
  rope.rotary_dims = 5;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rotary_dims", tamis_rope_apply(c, &rope, &tx, NULL, 0, &tz));
  rope.rotary_dims = 0;
  rope.base = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "base", tamis_rope_apply(c, &rope, &tx, NULL, 0, &tz));
  rope.base = 10000;
  rope.style = 9;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "style", tamis_rope_apply(c, &rope, &tx, NULL, 0, &tz));
  rope.style = TAMIS_ROPE_HALF;
  tx.dtype = TAMIS_I8;
  FAILS(TAMIS_ERR_UNSUPPORTED, "x->dtype", tamis_rope_apply(c, &rope, &tx, NULL, 0, &tz));
}

static void test_top_k(tamis_context *c) {
  const float scores[8] = {1, NAN, 3, 3, -INFINITY, 2, 3, 0};
  int32_t indices[8];
  int64_t count = -1;
  OK(tamis_top_k(c, scores, 8, 2, indices, &count));
  CHECK(count == 2 && indices[0] == 2 && indices[1] == 3); /* ties go to the lower index */
  OK(tamis_top_k(c, scores, 8, 4, indices, &count));
  CHECK(count == 4 && indices[0] == 2 && indices[1] == 3 && indices[2] == 5 && indices[3] == 6);
  OK(tamis_top_k(c, scores, 8, INT64_MAX, indices, &count));
  CHECK(count == 8 && indices[0] == 0 && indices[7] == 7);
  OK(tamis_top_k(c, scores, 8, 0, NULL, &count));
  CHECK(count == 0);
  count = -1;
  OK(tamis_top_k(c, NULL, 0, 5, NULL, &count));
  CHECK(count == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "scores", tamis_top_k(c, NULL, 8, 2, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "indices", tamis_top_k(c, scores, 8, 2, NULL, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "count", tamis_top_k(c, scores, 8, 2, indices, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_top_k(c, scores, -1, 2, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_top_k(c, scores, INT64_MAX, 2, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is", tamis_top_k(c, scores, 8, -1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_top_k(NULL, scores, 8, 2, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "scores",
        tamis_top_k(c, (const float *)(const void *)((const char *)scores + 1), 7, 2, indices, &count));
}

void test_ops(void) {
  tamis_context *c = make_context(1);
  test_convert(c);
  test_rope(c);
  test_top_k(c);
  tamis_context_destroy(c);
}
