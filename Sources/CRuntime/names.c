// The Swift runtime is linked in statically, and its archive keeps every public function. The names of Unicode's characters are
// 0.6 MB of it, which nothing here asks for: the linker sends calls of these two (--wrap) to answers without a table.
#include <stddef.h>
#include <stdint.h>

#include "tamis_runtime.h"

// Characters written to `buffer`: 0, the scalar has no name.
ptrdiff_t __wrap__swift_stdlib_getScalarName(uint32_t scalar, uint8_t *buffer, ptrdiff_t capacity);
ptrdiff_t __wrap__swift_stdlib_getScalarName(uint32_t scalar, uint8_t *buffer, ptrdiff_t capacity) {
  (void)scalar, (void)buffer, (void)capacity;
  return 0;
}

const char *__wrap__swift_stdlib_getNameAlias(uint32_t scalar);
const char *__wrap__swift_stdlib_getNameAlias(uint32_t scalar) {
  (void)scalar;
  return NULL;
}
