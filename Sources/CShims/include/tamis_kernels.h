// The table of SIMD inner loops. Each instruction-set level's module (Kernels*) fills one with its own code; the table is
// chosen once, at run time (TamisCore/KernelTable.swift). Leaf loops over raw pointers: no allocation, no checks.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct tk_table {
  // dtype conversion of n consecutive elements, round to nearest even
  void (*_Nonnull f16_to_f32)(const uint16_t *_Nonnull from, float *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull f32_to_f16)(const float *_Nonnull from, uint16_t *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull bf16_to_f32)(const uint16_t *_Nonnull from, float *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull f32_to_bf16)(const float *_Nonnull from, uint16_t *_Nonnull to, ptrdiff_t n);
} tk_table;

void tk_fill_v2(tk_table *_Nonnull table);
void tk_fill_v3(tk_table *_Nonnull table);
void tk_fill_v4(tk_table *_Nonnull table);
void tk_fill_v4x(tk_table *_Nonnull table);
void tk_fill_neon(tk_table *_Nonnull table);
