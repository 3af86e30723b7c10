// Which instruction-set levels this processor and this operating system can run.
#pragma once

// 0: x86-64-v2 (or arm64 NEON), 1: v3, 2: v4, 3: v4 with avx512_vnni and avx512_bf16; -1: older than v2.
// Reads CPUID and XGETBV: a level counts only when the OS saves its registers.
int ts_cpu_level(void);
