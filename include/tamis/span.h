/* tamis/span.h: a run of bytes of a text, what selections of words, sentences and tokens come down to. */
#ifndef TAMIS_SPAN_H
#define TAMIS_SPAN_H

#include <stdint.h>

/* Bytes [start, end). */
typedef struct tamis_span {
  int64_t start;
  int64_t end;
} tamis_span;

#endif /* TAMIS_SPAN_H */
