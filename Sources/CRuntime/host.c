// Parts of the runtimes that a library inside someone else's process has no use for: each definition here stands before the
// archive member that has another, which is then never linked (0.15 MB).
#include <stdbool.h>
#include <stddef.h>

#include "tamis_runtime.h"

// The Swift runtime's own would read SWIFT_BACKTRACE when the library is loaded and install handlers of fatal signals in the
// host's process. All zero: no handlers, no stack printed. The size is that of the runtime's struct with room to spare.
extern const int _swift_backtraceSettings[128];
const int _swift_backtraceSettings[128] = {0};

bool _swift_backtrace_isThunkFunction(const char *name);
bool _swift_backtrace_isThunkFunction(const char *name) {
  (void)name;
  return false;
}

// libstdc++'s demangler serves one line before abort(). Names stay as they are: -2, not a valid name.
char *__cxa_demangle(const char *name, char *buffer, size_t *length, int *status);
char *__cxa_demangle(const char *name, char *buffer, size_t *length, int *status) {
  (void)name, (void)buffer, (void)length;
  if (status) *status = -2;
  return NULL;
}
