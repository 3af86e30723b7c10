/// The part of the kernel table between the linear layers of DHSA's boundary predictor (arXiv 2510.24606 v1): attention within
/// windows of n = 2w neighbouring tokens, and what becomes of a window's outputs.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// `room` is n rounded up to a multiple of 16: lanes of a window's queries, those from n on being unused.
typedef struct tk_boundaries {
  /// to[(j * heads + h) * 2 room + t - j + n - 1] = scale * q_t,h . k_j,h for the tokens t, j of 0 ..< rows that share a
  /// window: |t - j| < n. Rows of q and k are `stride` floats apart; head h is [h * dim, (h + 1) * dim).
  void (*_Nonnull scores)(const float *_Nonnull q, const float *_Nonnull k, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t heads,
                          ptrdiff_t dim, ptrdiff_t n, ptrdiff_t room, float scale, float *_Nonnull to);
  /// Softmax to base 2 over the tokens of one window. `scores` are those of the window's first token on;
  /// to[(j * heads + h) * room + r] is the weight of token j for query r in head h.
  void (*_Nonnull weights)(const float *_Nonnull scores, ptrdiff_t heads, ptrdiff_t n, ptrdiff_t room, float *_Nonnull to);
  /// y[r] = sum_i a[i * room + r] x[i] for r < n (rows up to the next multiple of 8 are written too), i ascending. `width` is a
  /// multiple of the panel of `tk_linear`; strides in floats.
  void (*_Nonnull mix)(const float *_Nonnull a, ptrdiff_t room, ptrdiff_t n, ptrdiff_t count, const float *_Nonnull x,
                       ptrdiff_t x_stride, ptrdiff_t width, float *_Nonnull y, ptrdiff_t y_stride);
  /// Layer normalisation of the n rows of y, the mean of each half (or its sum weighted by a softmax of gate . row), and the
  /// features [left, right, |left - right|, left * right, cosine], 4 width + 1 of them.
  void (*_Nonnull pool)(const float *_Nonnull y, ptrdiff_t y_stride, ptrdiff_t n, ptrdiff_t width,
                        const float *_Nonnull weight, const float *_Nonnull bias, const float *_Nullable gate, float epsilon,
                        float *_Nonnull features);
  /// sum of x[i] y[i]
  float (*_Nonnull product)(const float *_Nonnull x, const float *_Nonnull y, ptrdiff_t count);
} tk_boundaries;
