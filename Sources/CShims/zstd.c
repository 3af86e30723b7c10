#include "tamis_zstd.h"

#include <stdlib.h>
#include <zstd.h>

size_t ts_zstd_bound(size_t n) { return ZSTD_compressBound(n); }

void *ts_zstd_compressor(int level) {
  ZSTD_CCtx *c = ZSTD_createCCtx();
  if (c && (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level)) ||
            ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)))) {
    ZSTD_freeCCtx(c);
    return NULL;
  }
  return c;
}

void ts_zstd_compressor_free(void *compressor) { ZSTD_freeCCtx(compressor); }

ptrdiff_t ts_zstd_compress(void *compressor, void *to, size_t capacity, const void *from, size_t n) {
  const size_t size = ZSTD_compress2(compressor, to, capacity, from, n);
  return ZSTD_isError(size) ? -1 : (ptrdiff_t)size;
}

void *ts_zstd_decompressor(void) { return ZSTD_createDCtx(); }
void ts_zstd_decompressor_free(void *decompressor) { ZSTD_freeDCtx(decompressor); }

int ts_zstd_decompress(void *decompressor, void *to, size_t n, const void *from, size_t size) {
  if (ZSTD_findFrameCompressedSize(from, size) != size) return -1;
  if (ZSTD_getFrameContentSize(from, size) != n) return -1;
  return ZSTD_decompressDCtx(decompressor, to, n, from, size) == n ? 0 : -1;
}

void *ts_zstd_decode_all(const void *from, size_t size, size_t *n) {
  ZSTD_DCtx *c = ZSTD_createDCtx();
  ZSTD_inBuffer in = {from, size, 0};
  ZSTD_outBuffer out = {NULL, 0, 0};
  size_t left = 1;
  while (c && (in.pos < in.size || (left && out.pos == out.size))) {
    if (out.pos == out.size) {
      const size_t room = out.size ? 2 * out.size : ZSTD_DStreamOutSize() + 4 * size;
      void *more = realloc(out.dst, room);
      if (!more) break;
      out.dst = more;
      out.size = room;
    }
    left = ZSTD_decompressStream(c, &out, &in);
    if (ZSTD_isError(left)) break;
  }
  ZSTD_freeDCtx(c);
  if (left != 0 || in.pos < in.size) {
    free(out.dst);
    return NULL;
  }
  *n = out.pos;
  return out.dst;
}
