"""k-means against loops in numpy; representatives by hand."""

import numpy as np
import pytest

import tamis


def inertia(points, labels):
    return sum(((points[labels == c] - points[labels == c].mean(0)) ** 2).sum() for c in np.unique(labels))


def blobs(rng, k, each, d):
    centres = rng.standard_normal((k, d)) * 30
    truth = rng.permutation(np.repeat(np.arange(k), each))
    return (centres[truth] + rng.standard_normal((k * each, d))).astype(np.float32), truth


def same_parts(a, b):
    return len(np.unique(np.stack([a, b]), axis=1).T) == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("k", [2, 4, 7])
def test_blobs(ctx, rng, k):
    points, truth = blobs(rng, k, 40, 12)
    found = tamis.cluster(points, k, normalise=False, ctx=ctx)
    assert found.k == k and found.converged and same_parts(found.labels, truth)
    assert found.inertia == pytest.approx(inertia(points.astype(np.float64), found.labels), rel=1e-5)
    automatic = tamis.cluster(points, None, normalise=False, ctx=ctx)
    assert automatic.k == k and 0 < automatic.silhouette <= 1
    assert found.silhouette is None


def test_order_and_centres(cpu, rng):
    points = rng.standard_normal((300, 9)).astype(np.float32)
    found = tamis.cluster(points, 6, ctx=cpu)
    unit = points.astype(np.float64) / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    distances = ((unit[:, None] - found.centres[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(found.labels, distances.argmin(1))
    assert found.inertia == pytest.approx(distances.min(1).sum(), rel=1e-5)
    assert sorted(found.order) == list(range(300))
    for c in range(6):
        rows = found.members(c)
        assert (found.labels[rows] == c).all()
        assert (np.diff(distances[rows, c]) > -1e-6).all()
    assert [found.members(c).min() for c in range(6)] == sorted(found.members(c).min() for c in range(6))


def test_threads_do_not_change_a_bit(rng):
    points = rng.standard_normal((2500, 20)).astype(np.float32)
    one, three = (tamis.cluster(points, 5, ctx=tamis.Context(threads=t)) for t in (1, 3))
    np.testing.assert_array_equal(one.order, three.order)
    np.testing.assert_array_equal(one.centres, three.centres)
    assert one.inertia == three.inertia


def test_few_and_equal_rows(cpu, rng):
    points = rng.standard_normal((3, 4)).astype(np.float32)
    each = tamis.cluster(points, 4, normalise=False, ctx=cpu)
    assert each.k == 3 and each.inertia == 0 and each.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(each.centres, points)
    same = tamis.cluster(np.ones((20, 4), np.float32), 4, ctx=cpu)
    assert same.k == 1 and same.inertia == 0 and same.offsets.tolist() == [0, 20]
    assert tamis.cluster(np.ones((20, 4), np.float32), None, ctx=cpu).k == 1
    half = tamis.cluster(rng.standard_normal((30, 4)).astype(np.float16), 3, ctx=cpu)
    assert half.k == 3


def test_representatives(cpu, rng):
    points, truth = blobs(rng, 3, 20, 5)
    found = tamis.cluster(points, 3, normalise=False, ctx=cpu)
    medoids = sorted(int(found.members(c)[0]) for c in range(3))
    assert found.representatives(0).tolist() == medoids == found.representatives(3).tolist()
    assert len(found.representatives(12)) == 12
    assert found.representatives(60).tolist() == list(range(60))
    costs = rng.integers(1, 50, 60)
    for budget in (100, 300, 900):
        chosen = found.representatives(budget, costs)
        for c in range(3):
            rows = found.members(c)
            sums = np.cumsum(costs[rows])
            expected = rows[: max(1, int((sums * 60 <= budget * 20).argmin()))]
            assert set(expected) == set(chosen) & set(rows)


def test_progress(cpu, rng):
    points = rng.standard_normal((500, 8)).astype(np.float32)
    seen = []
    tamis.cluster(points, 4, progress=seen.append, ctx=cpu)
    assert seen == sorted(seen) and 0 <= seen[0] and seen[-1] <= 1
    with pytest.raises(tamis.CancelledError):
        tamis.cluster(points, 4, progress=lambda done: False, ctx=cpu)
    with pytest.raises(ZeroDivisionError):
        tamis.cluster(points, 4, progress=lambda done: 1 / 0, ctx=cpu)


def test_bad_input(cpu):
    good = np.zeros((10, 2), np.float32)
    bad = good.copy()
    bad[4, 1] = np.nan
    found = tamis.cluster(np.arange(20, dtype=np.float32).reshape(10, 2), 2, ctx=cpu)
    for match, call in [
        (r"points\[4\]\[1\]", lambda: tamis.cluster(bad, ctx=cpu)),
        ("points", lambda: tamis.cluster(good[0], ctx=cpu)),
        ("points", lambda: tamis.cluster(np.zeros((0, 2), np.float32), ctx=cpu)),
        ("points", lambda: tamis.cluster(good.astype(np.float64), ctx=cpu)),
        ("k", lambda: tamis.cluster(good, 0, ctx=cpu)),
        ("k", lambda: tamis.cluster(good, -1, ctx=cpu)),
        ("restarts", lambda: tamis.cluster(good, restarts=0, ctx=cpu)),
        ("max_iterations", lambda: tamis.cluster(good, max_iterations=0, ctx=cpu)),
        ("tolerance", lambda: tamis.cluster(good, tolerance=float("nan"), ctx=cpu)),
        ("budget", lambda: found.representatives(-1)),
        ("costs", lambda: found.representatives(1, [1] * 9)),
        ("costs", lambda: found.representatives(1, [-1] * 10)),
        ("costs", lambda: found.representatives(1, [2**31] * 10)),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
