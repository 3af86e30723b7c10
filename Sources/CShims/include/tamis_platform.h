// Names begin with ts_ (shims) or tk_ (kernels): never tamis_, which is what the library exports.
// What Swift on Linux cannot say by itself: thread-local storage, futexes, the build's identity.
#pragma once
#include <stddef.h>
#include <stdint.h>

// The last error sentence of this thread (docs/errors.md). `text` need not be NUL-terminated; it is cut at 1023 bytes.
void ts_set_last_error(const char *text, size_t length);
const char *ts_get_last_error(void);

// Sleeps while *word == expected (spurious returns happen); wakes all sleepers.
void ts_futex_wait(uint32_t *word, uint32_t expected);
void ts_futex_wake_all(uint32_t *word);
static inline void ts_cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Sequentially consistent operations on plain words that C and Swift share.
static inline uint32_t ts_load_u32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void ts_store_u32(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }
static inline uint32_t ts_add_u32(uint32_t *word, uint32_t value) { return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST); }
static inline int64_t ts_add_i64(int64_t *word, int64_t value) { return __atomic_fetch_add(word, value, __ATOMIC_RELAXED); }

const char *ts_build_commit(void);
const char *ts_build_compiler(void);
const char *ts_zstd_version(void);

// File of the library or program that this code was linked into; NULL when the loader does not know.
const char *ts_object_path(void);
