/* tamis/ops.h: the numeric pieces by themselves, for hosts that build their own methods and for tests. */
#ifndef TAMIS_OPS_H
#define TAMIS_OPS_H

#include "core.h"
#include "kv_cache.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Copies `from` into `to` (same shape), converting the dtype: f32, f16, bf16 and i8 in any pair. Rounds to nearest even;
 * f16 overflow gives infinity; NaN stays NaN. To i8 the scale of each row is computed (max|x| / 127 over its finite values;
 * 0 for a row of zeros) and written through to->scale, which must then not be NULL. A non-finite value becomes 0 in i8.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_convert(tamis_context *context, const tamis_tensor *from, const tamis_tensor *to);

/* Rotates x [.., n, head_dim] (f32, f16 or bf16) into out (same shape, may be x): row t of every leading index stands at
 * positions[t], or at first + t when positions is NULL. Errors: INVALID_ARGUMENT, UNSUPPORTED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_rope_apply(tamis_context *context, const tamis_rope *rope, const tamis_tensor *x,
                                               const int64_t *positions, int64_t first, const tamis_tensor *out);

/* The k largest of n scores, as indices in ascending order (not in order of score). Ties go to the lower index; NaN counts
 * as -inf, below every number; k >= n gives all n. `count` receives min(k, n). O(n).
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_top_k(tamis_context *context, const float *scores, int64_t n, int64_t k,
                                          int32_t *indices, int64_t *count);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_OPS_H */
