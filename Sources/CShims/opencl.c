// clCreateCommandQueue is the 1.2 form, which every driver still has.
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include "tamis_opencl.h"

#include <dlfcn.h>
#include <pthread.h>

static ts_opencl table;
static const char *failure = "";
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    failure = "libOpenCL.so.1 was not found";
    return;
  }
#define TS_FIND(name)                                                \
  if (!(*(void **)&table.name = dlsym(library, "cl" #name))) {       \
    failure = "libOpenCL.so.1 lacks cl" #name ", a function of 1.2"; \
    return;                                                          \
  }
  TS_OPENCL_FUNCTIONS(TS_FIND)
#undef TS_FIND
}

const ts_opencl *ts_opencl_load(const char **why) {
  pthread_once(&once, load);
  if (why) *why = failure;
  return *failure ? NULL : &table;
}
