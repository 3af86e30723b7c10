/* Runs a target without libFuzzer: the files given, then random inputs for -seconds=N. Deterministic: the inputs are a
 * function of -seed=N (default 1) and their number. A crash prints the input's number; -only=N runs it alone. */
#include <time.h>

#include "input.h"

static uint64_t number(int argc, char **argv, const char *name, uint64_t otherwise) {
  for (int i = 1; i < argc; i++)
    if (strncmp(argv[i], name, strlen(name)) == 0) return strtoull(argv[i] + strlen(name), NULL, 10);
  return otherwise;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_random(uint64_t seed, uint64_t n) {
  static uint8_t bytes[4096];
  uint64_t state = (seed * 0x9e3779b97f4a7c15u) ^ (n * 0xbf58476d1ce4e5b9u) ^ 0x94d049bb133111ebu;
  size_t size = 0;
  for (size_t i = 0; i < sizeof bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    memcpy(bytes + i, &state, 8);
  }
  size = 1 + bytes[0] * 16u;
  LLVMFuzzerTestOneInput(bytes + 1, size < sizeof bytes ? size : sizeof bytes - 1);
}

int main(int argc, char **argv) {
  const double end = now() + (double)number(argc, argv, "-seconds=", 5);
  const uint64_t seed = number(argc, argv, "-seed=", 1), only = number(argc, argv, "-only=", UINT64_MAX);
  uint64_t n = 0;
  char progress[64];
  for (int i = 1; i < argc; i++) {
    static uint8_t bytes[1 << 20];
    FILE *f = argv[i][0] == '-' ? NULL : fopen(argv[i], "rb");
    if (!f) continue;
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    LLVMFuzzerTestOneInput(bytes, size);
  }
  if (only != UINT64_MAX) {
    run_random(seed, only);
    return 0;
  }
  for (; now() < end; n++) {
    /* stderr is not buffered away by a crash: keep the number of the running input in the environment of the core */
    snprintf(progress, sizeof progress, "TAMIS_FUZZ_INPUT=%llu", (unsigned long long)n);
    putenv(progress);
    run_random(seed, n);
  }
  printf("%llu inputs, seed %llu\n", (unsigned long long)n, (unsigned long long)seed);
  return 0;
}
