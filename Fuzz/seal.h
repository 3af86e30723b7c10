/* Puts right checksums on a snapshot that was tampered with, so that the fuzzer gets past them to the checks behind: XXH64 (seed 0)
 * of the catalogue, of the header, and the header's once more in the trailer (docs/snapshot-format.md). */
#ifndef TAMIS_FUZZ_SEAL_H
#define TAMIS_FUZZ_SEAL_H

#include <stdint.h>
#include <string.h>

static inline uint64_t xxh64_rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline uint64_t xxh64_round(uint64_t h, uint64_t x) {
  return xxh64_rotate(h + x * 0xc2b2ae3d27d4eb4fu, 31) * 0x9e3779b185ebca87u;
}

static inline uint64_t xxh64(const uint8_t *p, size_t n) {
  const uint64_t p1 = 0x9e3779b185ebca87u, p2 = 0xc2b2ae3d27d4eb4fu, p3 = 0x165667b19e3779f9u, p4 = 0x85ebca77c2b2ae63u,
                 p5 = 0x27d4eb2f165667c5u;
  uint64_t h = p5, word;
  const size_t total = n;
  if (n >= 32) {
    uint64_t lane[4] = {p1 + p2, p2, 0, 0 - p1};
    for (; n >= 32; n -= 32)
      for (int i = 0; i < 4; i++, p += 8) memcpy(&word, p, 8), lane[i] = xxh64_round(lane[i], word);
    h = xxh64_rotate(lane[0], 1) + xxh64_rotate(lane[1], 7) + xxh64_rotate(lane[2], 12) + xxh64_rotate(lane[3], 18);
    for (int i = 0; i < 4; i++) h = (h ^ xxh64_round(0, lane[i])) * p1 + p4;
  }
  h += total;
  for (; n >= 8; n -= 8, p += 8) memcpy(&word, p, 8), h = xxh64_rotate(h ^ xxh64_round(0, word), 27) * p1 + p4;
  if (n >= 4) {
    uint32_t half;
    memcpy(&half, p, 4);
    h = xxh64_rotate(h ^ half * p1, 23) * p2 + p3;
    n -= 4, p += 4;
  }
  for (; n; n--, p++) h = xxh64_rotate(h ^ *p * p5, 11) * p1;
  h = (h ^ h >> 33) * p2;
  h = (h ^ h >> 29) * p3;
  return h ^ h >> 32;
}

static inline void seal(uint8_t *file, size_t size) {
  uint64_t offset, length, sum;
  if (size < 128 + 16) return;
  memcpy(&offset, file + 88, 8);
  memcpy(&length, file + 96, 8);
  if (offset <= size && length <= size - offset) {
    sum = xxh64(file + offset, (size_t)length);
    memcpy(file + 104, &sum, 8);
  }
  sum = xxh64(file, 120);
  memcpy(file + 120, &sum, 8);
  memcpy(file + size - 16, &sum, 8);
}

#endif
