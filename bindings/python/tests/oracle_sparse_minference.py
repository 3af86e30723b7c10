"""MInference's patterns (arXiv 2407.02490), in float64 and plain loops. Sets of tiles (a_shape, block_topk) or of tokens."""

import numpy as np
from oracle_sparse_rows import Rows, attention_rows, best, block_means, diagonal_sums


def a_shape_keys(rows, b, sinks, local):
    """Keys that some query of the block has among the first or the last ones."""
    keys = set()
    for i in range(b * rows.bq, min((b + 1) * rows.bq, rows.q_len)):
        token = rows.offset + i
        for t in range(rows.k_len):
            if t <= token and (not rows.window or t > token - rows.window) and (t < sinks or t > token - local):
                keys.add(t)
    return keys


def a_shape(q, k, *, bq=128, bk=64, sinks=128, local=3968, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    return [{t // bk for t in a_shape_keys(rows, b, sinks, local)} for b in range(rows.blocks)]


def block_topk(q, k, *, bq=64, bk=64, n=100, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    qm, km, group = block_means(q, bq), block_means(k, bk), q.shape[0] // k.shape[0]
    return [
        best(km[h // group] @ qm[h, b], rows.available(b), n) for h in range(q.shape[0]) for b in range(rows.blocks)]


def vertical_slash(q, k, *, bq=64, vertical=1000, slash=6096, last=64, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, 1, **rule)
    n, group = q.shape[1], q.shape[0] // k.shape[0]
    queries = list(range(max(0, n - last), n))
    span = rows.offset + n
    lists = []
    for h in range(q.shape[0]):
        p = attention_rows(q, k, queries, h, group, q_offset=rows.offset, window=rows.window)
        columns, slashes = p.sum(0), diagonal_sums(p, queries, rows.offset, span)
        columns[:30], slashes[:100] = np.inf, np.inf
        chosen = best(columns, range(len(columns)), max(vertical, 30))
        distances = best(slashes, range(span), max(slash, 50))
        for b in range(rows.blocks):
            keys = np.zeros(rows.k_len + span + 4 * bq, bool)
            end = rows.offset + (b + 1) * bq
            run = None
            for d in sorted(distances, reverse=True):
                if d >= end:
                    continue
                stop = max(end - d, bq)
                if run is None or stop - bq > run[1]:
                    run = [stop - bq, stop]
                while run[1] < stop:
                    run[1] += 64
                keys[run[0] : run[1]] = True
            keys[sorted(chosen)] = True
            lists.append(set(np.nonzero(keys[: rows.k_len] & rows.keys(b))[0]))
    return lists
