/* A file that exists only in memory, with a path to open it by. */
#ifndef TAMIS_FUZZ_FILE_H
#define TAMIS_FUZZ_FILE_H

#include <sys/mman.h>
#include <unistd.h>

#include "input.h"

enum { FILE_CAPACITY = 1 << 16 };

static inline const char *file_in_memory(const uint8_t *bytes, size_t size) {
  static int file = -1;
  static char path[64];
  if (file < 0) {
    file = memfd_create("tamis-fuzz", 0);
    MUST(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  MUST(ftruncate(file, 0) == 0);
  MUST(pwrite(file, bytes, size, 0) == (ssize_t)size);
  return path;
}

/* A whole file with a few bytes changed, cut off, repeated or made up, as the input says. Returns its size. */
static inline size_t mutate(input *in, const uint8_t *whole, size_t size, uint8_t *out) {
  if (chance(in, 16)) { /* nothing of the real thing */
    size_t n = in->left < FILE_CAPACITY ? in->left : FILE_CAPACITY;
    memcpy(out, in->data, n);
    return n;
  }
  memcpy(out, whole, size);
  for (uint32_t edits = below(in, 6); edits > 0 && size > 16; edits--) {
    size_t at = (size_t)take(in, 3) % size, n;
    if (chance(in, 2)) at %= size < 200 ? size : 200; /* heads are where the decisions are */
    switch (below(in, 6)) {
      case 0: out[at] ^= (uint8_t)(1u << below(in, 8)); break;
      case 1: out[at] = (uint8_t)take(in, 1); break;
      case 2: /* a number on an edge */
        n = size - at < 8 ? size - at : 8;
        memcpy(out + at, &(int64_t){wild(in)}, n);
        break;
      case 3: size = at; break;
      case 4: /* a run moves */
        n = below(in, 64);
        if (at + 2 * n < size) memmove(out + at + n, out + at, n);
        break;
      default: /* a run is dropped */
        n = below(in, 64);
        if (at + n < size) {
          memmove(out + at, out + at + n, size - at - n);
          size -= n;
        }
    }
  }
  return size;
}

#endif
