/* tamis/core.h: status codes, last error, version, context, tensor views.
 *
 * Rules that hold for the whole library
 *  - Every function that can fail returns a tamis_status: 0 is success, negative is an error. After an error
 *    tamis_last_error() of the same thread names the argument, its value and what was expected. A failed call changes
 *    nothing: outputs hold what they held, handles stay usable.
 *  - Options structs begin with `struct_size`. TAMIS_X_OPTIONS_INIT and tamis_x_options_init() fill the defaults;
 *    NULL means defaults. A struct from an older header is accepted: fields it lacks take their defaults.
 *  - Handles are opaque. tamis_x_destroy(NULL) does nothing. Handles may be destroyed in any order: a child keeps what it
 *    needs of its parent alive. Using a handle after destroying it is the one mistake the library cannot report.
 *  - The caller owns every buffer. Strings are written by (buffer, capacity, needed): always NUL-terminated when
 *    capacity > 0; `needed` (may be NULL) receives the length without the NUL; a short buffer is
 *    TAMIS_ERR_BUFFER_TOO_SMALL.
 *  - "Thread:" in a description says what may run at the same time.
 *      any           from any thread, any time
 *      per handle    one thread at a time for one handle; different handles are independent
 *  - The library starts no thread and reads no environment before it is called; a context with n_threads > 1 owns
 *    n_threads - 1 worker threads. TAMIS_ISA=v2|v3|v4|v4x in the environment lowers the instruction set (docs/dispatch.md).
 */
#ifndef TAMIS_CORE_H
#define TAMIS_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TAMIS_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TAMIS_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ status */

/* Codes are never renumbered; new ones will appear. */
typedef int32_t tamis_status;
#define TAMIS_OK 0
#define TAMIS_ERR_INVALID_ARGUMENT (-1)  /* an argument is null, misaligned, out of range, or does not fit another one */
#define TAMIS_ERR_UNSUPPORTED (-2)       /* valid, but this build, device or dtype cannot do it */
#define TAMIS_ERR_OUT_OF_MEMORY (-3)
#define TAMIS_ERR_BUFFER_TOO_SMALL (-4)
#define TAMIS_ERR_CACHE_FULL (-10)       /* the KV cache has no free page; nothing was appended */
#define TAMIS_ERR_NOT_FOUND (-11)        /* no such sequence, tensor or file */
#define TAMIS_ERR_IO (-20)               /* the operating system refused: open, read, write, rename, map */
#define TAMIS_ERR_FORMAT (-21)           /* a file is truncated, corrupt, of another kind or of a newer version */
#define TAMIS_ERR_NO_DEVICE (-30)        /* no OpenCL library, platform or matching device */
#define TAMIS_ERR_DEVICE (-31)           /* the OpenCL driver reported an error */
#define TAMIS_ERR_CANCELLED (-40)        /* the progress callback returned 0 */
#define TAMIS_ERR_INTERNAL (-99)         /* a bug in tamis; please report the sentence */

/* "TAMIS_ERR_CACHE_FULL"; "unknown status" for a number that is none. Static string. Thread: any. */
const char *tamis_status_name(tamis_status status);

/* One sentence about the last error on this thread; "" when there was none. Valid until the next failing tamis call on
 * the same thread. A successful call does not clear it. Never NULL. Thread: any (the text is per thread). */
const char *tamis_last_error(void);

/* Called now and then by work that can take longer than a second, from the calling thread, with the share done in [0, 1].
 * Return non-zero to go on, 0 to cancel: the call then returns TAMIS_ERR_CANCELLED and leaves outputs undefined but the
 * handles as they were. A callback runs with the context locked: it must not call the library on the same context. */
typedef int32_t (*tamis_progress_fn)(double done, void *user);

/* ------------------------------------------------------------------------------------------------ version */

#define TAMIS_VERSION_MAJOR 0
#define TAMIS_VERSION_MINOR 1
#define TAMIS_VERSION_PATCH 0
#define TAMIS_VERSION_NUMBER (TAMIS_VERSION_MAJOR * 1000000 + TAMIS_VERSION_MINOR * 1000 + TAMIS_VERSION_PATCH)

/* "0.1.0". Static string. Thread: any. */
const char *tamis_version(void);

/* TAMIS_VERSION_NUMBER of the library that is loaded; a binding compares it with the header it was made from.
 * Thread: any. */
uint32_t tamis_version_number(void);

/* What this library is and what it found on this machine, as one JSON object:
 *   {"version", "commit", "compiler", "isa": {"compiled": [...], "available": [...], "active": "v4x"},
 *    "openblas": {"found", "config"}, "zstd": "1.5.4", "opencl": {"found", "devices": [{"name", "version", "driver", "type",
 *    "compute_units", "global_memory_bytes", "f16"}]}}
 * The first call looks for OpenCL and OpenBLAS with dlopen (OpenBLAS starts its own threads when it is loaded; set
 * OPENBLAS_NUM_THREADS beforehand to prevent it).
 * Errors: INVALID_ARGUMENT (buffer NULL with capacity > 0), BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_build_info(char *buffer, size_t capacity, size_t *needed);

/* ------------------------------------------------------------------------------------------------ tensors */

typedef int32_t tamis_dtype;
#define TAMIS_F32 0
#define TAMIS_F16 1   /* IEEE binary16 */
#define TAMIS_BF16 2
#define TAMIS_I8 3    /* value = int8 * scale of its row; see tamis_tensor.scale */
#define TAMIS_I32 4

/* Bytes of one element; 0 for a number that is no dtype. Thread: any. */
size_t tamis_dtype_size(tamis_dtype dtype);

#define TAMIS_MAX_DIMS 6

/* A view of memory that the caller owns: element (i0, .., in-1) lies at data + sum(i_k * stride[k]) elements.
 * Strides are in elements, may be 0 or negative for inputs and are positive for outputs. Overlap is judged by address range.
 * `data` must be aligned to its element size, and every dimension at least 1. For TAMIS_I8, `scale` holds one f32 per row (a
 * row is the last dimension, which must then have stride 1): the scale of row (i0, .., in-2) is
 * scale[sum(i_k * scale_stride[k])]. NULL scale means 1.
 * Tensors are host memory in this version; OpenCL contexts copy them in and out. */
typedef struct tamis_tensor {
  void *data;
  tamis_dtype dtype;
  int32_t ndim;
  int64_t shape[TAMIS_MAX_DIMS];
  int64_t stride[TAMIS_MAX_DIMS];
  const float *scale;
  int64_t scale_stride[TAMIS_MAX_DIMS];
} tamis_tensor;

/* ------------------------------------------------------------------------------------------------ context */

typedef int32_t tamis_device;
#define TAMIS_DEVICE_CPU 0
#define TAMIS_DEVICE_OPENCL 1

typedef int32_t tamis_log_level;
#define TAMIS_LOG_ERROR 0
#define TAMIS_LOG_WARNING 1
#define TAMIS_LOG_INFO 2
#define TAMIS_LOG_DEBUG 3

/* Called from the thread that does the logged work, which may be a worker thread. */
typedef void (*tamis_log_fn)(tamis_log_level level, const char *message, void *user);

typedef struct tamis_context_options {
  uint32_t struct_size;
  tamis_device device;      /* TAMIS_DEVICE_CPU */
  int32_t n_threads;        /* threads used by one call, the caller's included; default 1; 0 = all cores; at most 1024 */
  int32_t opencl_index;     /* which OpenCL device, counted over all platforms as in tamis_build_info; default 0 */
  tamis_log_level log_level;/* TAMIS_LOG_WARNING: messages up to this level reach `log` */
  tamis_log_fn log;         /* NULL = silent */
  void *log_user;
} tamis_context_options;

#define TAMIS_CONTEXT_OPTIONS_INIT {sizeof(tamis_context_options), TAMIS_DEVICE_CPU, 1, 0, TAMIS_LOG_WARNING, NULL, NULL}
void tamis_context_options_init(tamis_context_options *options);

/* A context: a device, its worker threads and its scratch memory. Calls on one context are serialised by a lock inside,
 * so sharing one is safe and using one per thread is faster. Thread: any. */
typedef struct tamis_context tamis_context;

/* Errors: INVALID_ARGUMENT (out NULL, unknown device, n_threads or opencl_index out of range), NO_DEVICE, DEVICE,
 * OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_context_create(const tamis_context_options *options, tamis_context **out);

/* Worker threads end before this returns, unless caches or selectors made from the context still live: those stay usable and
 * keep the context's threads until the last of them is destroyed. Thread: per handle. */
void tamis_context_destroy(tamis_context *context);

/* Number of threads in effect (0 = all cores is resolved here). 0 when context is NULL. Thread: any. */
int32_t tamis_context_threads(const tamis_context *context);

/* Name of the device in effect: "CPU v4x" or the OpenCL device's name. Buffer rule as above. Thread: any. */
tamis_status tamis_context_device_name(const tamis_context *context, char *buffer, size_t capacity, size_t *needed);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_CORE_H */
