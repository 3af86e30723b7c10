#include "tamis_platform.h"

#include <linux/futex.h>
#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zstd.h>

#if __has_include("generated/commit.h")
#include "generated/commit.h"
#else
#define TAMIS_COMMIT "unknown"
#define TAMIS_SWIFT ""
#endif

static _Thread_local char last_error[1024];

void ts_set_last_error(const char *text, size_t length) {
  if (length >= sizeof last_error) {
    length = sizeof last_error - 1;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--; // never half a character
  }
  if (length > 0) memcpy(last_error, text, length);
  last_error[length] = 0;
}

const char *ts_get_last_error(void) { return last_error; }

void ts_futex_wait(uint32_t *word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void ts_futex_wake_all(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

const char *ts_build_commit(void) { return TAMIS_COMMIT; }
const char *ts_build_compiler(void) { return TAMIS_SWIFT "clang " __clang_version__; }
const char *ts_zstd_version(void) { return ZSTD_versionString(); }

const char *ts_object_path(void) {
  Dl_info info;
  return dladdr((void *)&ts_object_path, &info) ? info.dli_fname : NULL;
}
