#include "tamis_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

static uint64_t xgetbv0(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return ((uint64_t)hi << 32) | lo;
}

int ts_cpu_level(void) {
  uint32_t a, b, c, d, c1, b7 = 0, c7 = 0, d7 = 0, a71 = 0, a80 = 0, c80 = 0;
  if (!__get_cpuid(1, &a, &b, &c1, &d)) return -1;
  const uint32_t v2 = bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_CMPXCHG16B;
  if ((c1 & v2) != v2) return -1;
  if (!(c1 & bit_OSXSAVE)) return 0;
  const uint64_t xcr0 = xgetbv0();
  if ((xcr0 & 0x6) != 0x6) return 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) { b7 = b; c7 = c; d7 = d; }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) { c80 = c; a80 = a; }
  (void)d7; (void)a80;
  const uint32_t v3c1 = bit_AVX | bit_F16C | bit_FMA | bit_MOVBE;
  const uint32_t v3b7 = bit_AVX2 | bit_BMI | bit_BMI2;
  if ((c1 & v3c1) != v3c1 || (b7 & v3b7) != v3b7 || !(c80 & bit_LZCNT)) return 0;
  const uint32_t v4b7 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
  if ((b7 & v4b7) != v4b7 || (xcr0 & 0xe6) != 0xe6) return 1;
  return ((c7 & bit_AVX512VNNI) && (a71 & bit_AVX512BF16)) ? 3 : 2;
}
#else
int ts_cpu_level(void) { return 0; }
#endif
