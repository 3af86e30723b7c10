// zstd (RFC 8878) with contexts that live across frames; one context per thread at a time.
#pragma once
#include <stddef.h>

// Bytes that a frame of n content bytes may take.
size_t ts_zstd_bound(size_t n);

// A compressor at a level (1 to 19) that ends each frame with a content checksum; NULL: out of memory.
void *_Nullable ts_zstd_compressor(int level);
void ts_zstd_compressor_free(void *_Nullable compressor);
// One frame; its size, or -1.
ptrdiff_t ts_zstd_compress(void *_Nonnull compressor, void *_Nonnull to, size_t capacity, const void *_Nonnull from,
                           size_t n);

void *_Nullable ts_zstd_decompressor(void);
void ts_zstd_decompressor_free(void *_Nullable decompressor);
// Decodes one frame of exactly `size` bytes into exactly `n` bytes and checks its checksum; 0, or -1 for anything else.
int ts_zstd_decompress(void *_Nonnull decompressor, void *_Nonnull to, size_t n, const void *_Nonnull from, size_t size);

// Decodes all frames of a file, of whatever size, into memory to `free`; NULL: damaged, truncated, or no memory.
void *_Nullable ts_zstd_decode_all(const void *_Nonnull from, size_t size, size_t *_Nonnull n);
