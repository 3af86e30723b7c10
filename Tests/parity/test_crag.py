"""k-means of tamis.cluster against scikit-learn: inertia on random data, labels where there is one answer, silhouettes."""

import numpy as np
import pytest
import tamis
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

CASES = [(75, 32, 4), (300, 8, 7), (1000, 64, 8), (500, 2, 12), (60, 384, 4)]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("n, d, k", CASES)
@pytest.mark.parametrize("normalise", [False, True])
def test_inertia_within_a_hundredth(n, d, k, normalise):
    rng = np.random.default_rng(n + k)
    # a few soft groups, as embeddings have
    x = (rng.standard_normal((n, d)) + rng.standard_normal((6, d))[rng.integers(0, 6, n)]).astype(np.float32)
    # ten restarts leave two per cent of chance on either side where there are many local optima
    theirs = KMeans(k, n_init=40, max_iter=300, tol=1e-6, random_state=0, algorithm="lloyd").fit(
        unit(x.astype(np.float64)) if normalise else x.astype(np.float64))
    ours = tamis.cluster(x, k, normalise=normalise, restarts=40)
    assert ours.inertia <= 1.01 * theirs.inertia_
    assert ours.inertia >= 0.97 * theirs.inertia_  # nor a number that is not an inertia


def test_separated_blobs_have_the_same_labels():
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 5, 400)
    x = (rng.standard_normal((5, 24))[truth] * 12 + rng.standard_normal((400, 24))).astype(np.float32)
    theirs = KMeans(5, n_init=10, random_state=0).fit(x)
    ours = tamis.cluster(x, 5, normalise=False)
    assert adjusted_rand_score(truth, ours.labels) == adjusted_rand_score(theirs.labels_, ours.labels) == 1
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-4)


def test_silhouette_and_the_k_it_chooses():
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((3, 16))[rng.integers(0, 3, 200)] * 3 + rng.standard_normal((200, 16))).astype(np.float32)
    ours = tamis.cluster(x, None, normalise=False)
    assert ours.silhouette == pytest.approx(silhouette_score(x, ours.labels), abs=1e-5)
    scores = {k: silhouette_score(x, tamis.cluster(x, k, normalise=False).labels) for k in range(2, 9)}
    assert ours.k == max(scores, key=scores.get) == 3
