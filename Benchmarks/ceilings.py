"""What this machine can do, measured in the same run: read bandwidth and matrix products, with the benchmark's threads.

Runs in a process of its own, so that no BLAS thread lingers during the benchmarks. OPENBLAS_CORETYPE, where set, is dropped for
it: a ceiling must not be lowered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass
class Ceilings:
    #: GB/s, best of several ways to read a buffer much larger than the caches.
    bandwidth: float
    #: Which way was best.
    bandwidth_by: str
    #: GFLOP/s of a 2048^3 product: OpenBLAS (numpy's) or torch's BLAS, the better one.
    sgemm: float
    sgemm_by: str
    #: GFLOP/s of torch's bf16 product.
    bf16gemm: float


def measure_ceilings(threads: int, *, quick: bool = False) -> Ceilings:
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    environment.update(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    command = [sys.executable, __file__, str(threads), "quick" if quick else "full"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return Ceilings(**json.loads(printed.splitlines()[-1]))


def _best(run, seconds: float) -> float:
    """Shortest time in seconds."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _measure(threads: int, quick: bool) -> Ceilings:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import torch

    torch.set_num_threads(threads)
    seconds = 0.2 if quick else 1.0
    n = (1 << 25) if quick else (1 << 28)
    # Random bits, not zeros: a page of zeros may be one physical page.
    x = np.random.default_rng(0).integers(0, 2**31 - 1, n, np.int32).view(np.float32)
    np.nan_to_num(x, copy=False)
    np.clip(x, -1, 1, out=x)
    t = torch.from_numpy(x)
    parts = np.array_split(x, threads)
    pool = ThreadPoolExecutor(threads)
    half = n // 2
    ways = {
        "numpy max, one slice per thread": lambda: list(pool.map(np.max, parts)),
        "torch sum": lambda: t.sum(),
        "sdot of two halves": lambda: np.dot(x[:half], x[half:]),
    }
    rates = {name: x.nbytes / _best(run, seconds) / 1e9 for name, run in ways.items()}
    by = max(rates, key=rates.get)

    m = 1024 if quick else 2048
    a, b = (np.random.default_rng(i).standard_normal((m, m), dtype=np.float32) for i in (1, 2))
    out = np.empty_like(a)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    gemm = {
        "OpenBLAS": 2 * m**3 / _best(lambda: np.matmul(a, b, out=out), seconds) / 1e9,
        "torch": 2 * m**3 / _best(lambda: ta @ tb, seconds) / 1e9,
    }
    gemm_by = max(gemm, key=gemm.get)
    # Where the machine has no bf16 product torch's takes a hundred times as long: a small one says so.
    for size in (256, m):
        ba, bb = (x[:size, :size].bfloat16().contiguous() for x in (ta, tb))
        bf16 = 2 * size**3 / _best(lambda: ba @ bb, min(seconds, size / m)) / 1e9
        if bf16 < gemm[gemm_by] / 4:
            break
    return Ceilings(rates[by], by, gemm[gemm_by], gemm_by, bf16)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), sys.argv[2] == "quick").__dict__))
