// Frames of zstd before 0.8, which a distribution's libzstd.a reads: no snapshot was ever written in one. These stand before
// its decoders (0.1 MB) and refuse, so that such a frame is an error as any other foreign one.
#include <stddef.h>

#include "tamis_runtime.h"

#define UNSUPPORTED ((size_t)-12)  // ZSTD_error_version_unsupported
#define UNKNOWN_SIZE (~0ULL - 1)   // ZSTD_CONTENTSIZE_ERROR

#define REFUSE(version)                                                                                                     \
  void *ZSTDv0##version##_createDCtx(void);                                                                                 \
  void *ZSTDv0##version##_createDCtx(void) { return NULL; }                                                                 \
  size_t ZSTDv0##version##_freeDCtx(void *context);                                                                         \
  size_t ZSTDv0##version##_freeDCtx(void *context) { return (void)context, (size_t)0; }                                     \
  size_t ZSTDv0##version##_getFrameParams(void *parameters, const void *source, size_t size);                               \
  size_t ZSTDv0##version##_getFrameParams(void *parameters, const void *source, size_t size) {                              \
    return (void)parameters, (void)source, (void)size, UNSUPPORTED;                                                         \
  }                                                                                                                         \
  size_t ZSTDv0##version##_decompress_usingDict(void *context, void *out, size_t capacity, const void *source, size_t size, \
                                                const void *dictionary, size_t length);                                     \
  size_t ZSTDv0##version##_decompress_usingDict(void *context, void *out, size_t capacity, const void *source, size_t size, \
                                                const void *dictionary, size_t length) {                                    \
    return (void)context, (void)out, (void)capacity, (void)source, (void)size, (void)dictionary, (void)length, UNSUPPORTED; \
  }                                                                                                                         \
  void ZSTDv0##version##_findFrameSizeInfoLegacy(const void *source, size_t size, size_t *frame, unsigned long long *bound);\
  void ZSTDv0##version##_findFrameSizeInfoLegacy(const void *source, size_t size, size_t *frame, unsigned long long *bound){\
    (void)source, (void)size;                                                                                               \
    *frame = UNSUPPORTED;                                                                                                   \
    *bound = UNKNOWN_SIZE;                                                                                                  \
  }                                                                                                                         \
  void *ZBUFFv0##version##_createDCtx(void);                                                                                \
  void *ZBUFFv0##version##_createDCtx(void) { return NULL; }                                                                \
  size_t ZBUFFv0##version##_freeDCtx(void *context);                                                                        \
  size_t ZBUFFv0##version##_freeDCtx(void *context) { return (void)context, (size_t)0; }                                    \
  size_t ZBUFFv0##version##_decompressInitDictionary(void *context, const void *dictionary, size_t length);                 \
  size_t ZBUFFv0##version##_decompressInitDictionary(void *context, const void *dictionary, size_t length) {                \
    return (void)context, (void)dictionary, (void)length, UNSUPPORTED;                                                      \
  }                                                                                                                         \
  size_t ZBUFFv0##version##_decompressContinue(void *context, void *out, size_t *capacity, const void *source, size_t *size);\
  size_t ZBUFFv0##version##_decompressContinue(void *context, void *out, size_t *capacity, const void *source, size_t *size){\
    return (void)context, (void)out, (void)capacity, (void)source, (void)size, UNSUPPORTED;                                 \
  }

REFUSE(5)
REFUSE(6)
REFUSE(7)
