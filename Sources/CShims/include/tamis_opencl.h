// OpenCL 1.2, looked up at run time: the library links and runs where there is no OpenCL (docs/opencl.md).
#pragma once
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

// Each entry has the prototype of the function it is named after, clX for X.
#define TS_OPENCL_FUNCTIONS(F)                                                                                          \
  F(GetPlatformIDs) F(GetPlatformInfo) F(GetDeviceIDs) F(GetDeviceInfo) F(CreateContext) F(ReleaseContext)              \
  F(CreateCommandQueue) F(ReleaseCommandQueue) F(CreateBuffer) F(ReleaseMemObject) F(CreateProgramWithSource)           \
  F(CreateProgramWithBinary) F(BuildProgram) F(GetProgramBuildInfo) F(GetProgramInfo) F(ReleaseProgram) F(CreateKernel) \
  F(ReleaseKernel) F(SetKernelArg) F(EnqueueNDRangeKernel) F(EnqueueWriteBuffer) F(EnqueueReadBuffer)                   \
  F(EnqueueCopyBuffer) F(EnqueueFillBuffer) F(Flush) F(Finish)

typedef struct ts_opencl {
#define TS_FIELD(name) __typeof__(cl##name) *name;
  TS_OPENCL_FUNCTIONS(TS_FIELD)
#undef TS_FIELD
} ts_opencl;

// The table, or NULL with a sentence in *why. The library is opened once and stays open: drivers do not survive dlclose.
const ts_opencl *ts_opencl_load(const char **why);
