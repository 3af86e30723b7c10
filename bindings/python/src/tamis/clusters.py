"""Few documents for many: k-means over embeddings, and representatives of each cluster (CRAG, arXiv 2406.00029).

>>> clusters = tamis.cluster(embeddings, k=4)
>>> chosen = clusters.representatives(budget=2000, costs=token_counts)
>>> context = [texts[i] for i in chosen]
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_int32, c_int64
from dataclasses import dataclass

import numpy as np

from . import _ffi
from ._arguments import int32, integer, number
from ._arrays import ArrayLike, Tensor, pointer, read
from ._lib import library
from ._progress import Progress, ProgressCallback
from .context import Context, pointer_of
from .errors import InvalidArgumentError
from .text_scores import vector


@dataclass(frozen=True)
class Clusters:
    """A clustering of n rows, clusters numbered by their first row.

    labels: int32 [n]; order: int32 [n], rows by cluster, nearest to the centre first; offsets: int32 [k + 1]; centres: float32
    [k, d]; inertia: sum of squared distances to the centres; silhouette: where it chose k, else None.
    """

    labels: np.ndarray
    order: np.ndarray
    offsets: np.ndarray
    centres: np.ndarray
    inertia: float
    iterations: int
    converged: bool
    silhouette: float | None

    @property
    def k(self) -> int:
        return len(self.offsets) - 1

    def members(self, c: int) -> np.ndarray:
        """The rows of cluster c, its medoid first: the list for a summariser."""
        return self.order[self.offsets[c] : self.offsets[c + 1]]

    def representatives(self, budget: int, costs: ArrayLike | None = None) -> np.ndarray:
        """Rows that stand for their clusters, int32, ascending: cluster c of n_c of the n rows spends at most ``budget * n_c / n``
        on the rows nearest its centre, and gives at least one.

        costs: [n] non-negative integers (tokens of each text); None: 1 each. Raises InvalidArgumentError.
        """
        n = len(self.order)
        c = None if costs is None else vector(costs, "costs", np.int64, n)
        if c is not None:
            if len(c) and (c.min() < 0 or c.max() >= 2**31):
                raise InvalidArgumentError(f"costs reach from {c.min()} to {c.max()}, expected 0 to {2**31 - 1}")
            c = c.astype(np.int32)
        order, offsets = (np.ascontiguousarray(a, np.int32) for a in (self.order, self.offsets))
        indices = np.empty(n, np.int32)
        count = c_int64()
        library().tamis_representatives(
            pointer(order, c_int32), pointer(offsets, c_int32), self.k, pointer(c, c_int32), integer(budget, "budget"),
            pointer(indices, c_int32), ctypes.byref(count))
        return indices[: count.value].copy()


def cluster(
    points: ArrayLike, k: int | None = 4, *, restarts: int = 10, max_iterations: int = 300, tolerance: float = 1e-4, seed: int = 0,
    normalise: bool = True, progress: Progress = False, ctx: Context | None = None,
) -> Clusters:
    """k-means: k-means++ seeds, Lloyd iterations, sums in float64; the same bits whatever the number of threads.

    Parameters
    ----------
    points
        [n, d] float32, float16 or bfloat16. n <= k: every row is a cluster.
    k
        Clusters; None: the k of 2 .. min(8, floor(sqrt(n))) with the largest mean silhouette.
    restarts
        Runs from other seeds; the one with the least inertia is returned.
    tolerance
        A run ends when inertia falls by less than this share of itself.
    normalise
        Divide rows by their length first.
    progress
        Function of the share done; returning False cancels.

    Raises InvalidArgumentError (a row that is not finite), CancelledError.
    """
    t = read(points, "points")
    if t.ndim != 2:
        raise InvalidArgumentError(f"points is {t.dtype}{list(t.shape)}, expected [n, d]")
    n, d = t.shape
    options = _ffi.tamis_cluster_options()
    library().tamis_cluster_options_init(ctypes.byref(options))
    options.k = 0 if k is None else int32(k, "k")
    if k is not None and options.k < 1:
        raise InvalidArgumentError(f"k is {k}, expected at least 1, or None")
    options.restarts = int32(restarts, "restarts")
    options.max_iterations = int32(max_iterations, "max_iterations")
    options.tolerance = number(tolerance, "tolerance")
    options.seed = integer(seed, "seed") % 2**64
    options.normalise = int(bool(normalise))
    most = min(n, options.k or 8)
    labels, order = np.empty((2, n), np.int32)
    offsets = np.empty(most + 1, np.int32)
    centres = Tensor(np.empty((most, d), np.float32))
    report = _ffi.tamis_cluster_report(ctypes.sizeof(_ffi.tamis_cluster_report))
    with ProgressCallback(progress, "cluster", bar=False) as callback:
        options.progress = callback
        library().tamis_cluster(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(t.c()), pointer(labels, c_int32), pointer(order, c_int32),
            pointer(offsets, c_int32), ctypes.byref(centres.c()), ctypes.byref(report))
    return Clusters(
        labels, order, offsets[: report.k + 1].copy(), centres.numpy()[: report.k].copy(), report.inertia, report.iterations,
        bool(report.converged), None if math.isnan(report.silhouette) else report.silhouette)
