/* tamis/weights.h: safetensors files, memory-mapped. Every offset, size and shape is checked before use. */
#ifndef TAMIS_WEIGHTS_H
#define TAMIS_WEIGHTS_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_weights tamis_weights;

/* Maps the file. Errors: INVALID_ARGUMENT, NOT_FOUND, IO, FORMAT (truncated, not safetensors, header over 100 MB, offsets
 * that overlap, leave gaps or pass the end, a shape that does not fit its bytes, a name twice). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_weights_open(const char *path, tamis_weights **out);
/* Unmaps; tensors that were got from it become invalid. Thread: per handle. */
void tamis_weights_close(tamis_weights *weights);

/* Number of tensors; 0 when weights is NULL. Thread: any. */
int64_t tamis_weights_count(const tamis_weights *weights);

/* Name of tensor i, in the order of their data. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_weights_name(const tamis_weights *weights, int64_t i, char *buffer, size_t capacity, size_t *needed);

/* A read-only view of a tensor by name: f32, f16, bf16, i8 and i32 as they are, row-major. Writing through it is a fault.
 * Errors: INVALID_ARGUMENT, NOT_FOUND, UNSUPPORTED (another dtype, more than TAMIS_MAX_DIMS dimensions, or
 * data not aligned to its element). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_weights_get(const tamis_weights *weights, const char *name, tamis_tensor *out);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_WEIGHTS_H */
