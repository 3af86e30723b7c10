"""Lifetimes in any order, contexts, logs, threads, forks."""

import gc
import itertools
import logging
import os
import sys
import threading

import numpy as np
import pytest

import tamis


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("order", list(itertools.permutations(["context", "cache", "sequence", "selector"])))
def test_closing_in_any_order(rng, order):
    objects = {}
    objects["context"] = tamis.Context(threads=2)
    objects["cache"] = tamis.KVCache(head_dim=16, ctx=objects["context"])
    objects["sequence"] = objects["cache"].sequence()
    objects["sequence"].append(*normal(rng, 2, 1, 20, 16))
    objects["selector"] = tamis.Selector(objects["cache"], tamis.TokenSelect(2, 1, 4, chunk=4))
    q = normal(rng, 1, 1, 16)
    expected = objects["selector"].attend(objects["sequence"], q)
    alive = set(objects)
    for name in order:
        objects[name].close()
        objects[name].close()
        alive.discard(name)
        if alive >= {"sequence", "selector", "cache"}:
            np.testing.assert_array_equal(objects["selector"].attend(objects["sequence"], q), expected)


def test_collected_in_one_cycle(rng):
    for _ in range(5):
        context = tamis.Context(threads=2)
        cache = tamis.KVCache(head_dim=16, ctx=context)
        s = cache.sequence()
        s.append(*normal(rng, 2, 1, 20, 16))
        knot = [context, cache, s, tamis.Selector(cache, tamis.DenseAttention())]
        knot.append(knot)
        cache.knot = s.knot = context.knot = knot
        del context, cache, s, knot
    gc.collect()


def test_a_result_outlives_everything(rng):
    cache = tamis.KVCache(head_dim=16)
    s = cache.sequence()
    s.append(*normal(rng, 2, 1, 5, 16))
    k, _ = s.read()
    copy = k.copy()
    del s, cache
    gc.collect()
    np.testing.assert_array_equal(k, copy)


def test_context_properties():
    with tamis.Context("cpu", threads=3) as context:
        assert context.threads == 3
        assert context.device_name.startswith("CPU")
    with pytest.raises(ValueError, match="closed"):
        context.threads
    assert tamis.Context().threads == os.cpu_count() or tamis.Context().threads >= 1
    assert tamis.default_context() is tamis.default_context()


@pytest.mark.parametrize("match, options", [
    ("device", {"device": "gpu"}), ("n_threads|threads", {"threads": -1}), ("n_threads|threads", {"threads": 1025}),
    ("threads", {"threads": 2**40}), ("threads", {"threads": 1.5}),
])
def test_bad_contexts(match, options):
    with pytest.raises(ValueError, match=match):
        tamis.Context(**options)


def test_no_such_opencl_device():
    with pytest.raises((tamis.NoDeviceError, tamis.InvalidArgumentError)):
        tamis.Context("opencl", opencl_index=9999)


def test_log_reaches_the_logger_and_its_errors_stay_here(caplog, monkeypatch):
    log = logging.getLogger("tamis-test")
    log.setLevel(logging.DEBUG)
    context = tamis.Context(log=log)
    records = [r for r in caplog.records if r.name == "tamis-test"]
    assert all(r.getMessage() for r in records)
    callback = context._handle.keep
    callback(2, b"hello %s \xff", None)
    assert "hello %s" in caplog.records[-1].getMessage() and caplog.records[-1].levelno == logging.INFO
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    monkeypatch.setattr(log, "log", lambda *a: 1 / 0)
    callback(0, b"x", None)
    assert seen[0].exc_type is ZeroDivisionError


def test_the_log_callback_lives_as_long_as_the_cache():
    log = logging.getLogger("tamis-test-2")
    log.setLevel(logging.DEBUG)
    cache = tamis.KVCache(ctx=tamis.Context(log=log))
    callback = cache.context._handle.keep
    assert callback is not None and cache._handle.keep is callback
    selector = tamis.Selector(cache)
    assert selector._handle.keep is callback


def test_many_sequences_from_many_threads(rng):
    cache = tamis.KVCache(head_dim=32, max_tokens=64 * 64, ctx=tamis.Context(threads=2))
    selector = tamis.Selector(cache, tamis.TokenSelect(16, 2, 8, chunk=8))
    data = [(normal(rng, 1, 120, 32), normal(rng, 1, 120, 32), normal(rng, 1, 1, 32)) for _ in range(6)]
    expected = []
    for k, v, q in data:
        s = cache.sequence()
        s.append(k, v)
        expected.append(selector.attend(s, q))
        s.close()
    failures = []

    def work(i):
        k, v, q = data[i]
        try:
            for _ in range(10):
                s = cache.sequence()
                for a in range(0, 120, 30):
                    s.append(k[:, a : a + 30], v[:, a : a + 30])
                f = s.fork(60)
                np.testing.assert_array_equal(selector.attend(s, q), expected[i])
                np.testing.assert_array_equal(f.read()[0], k[:, :60])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]
    assert cache.memory().sequences == 0


def test_errors_belong_to_their_thread():
    wrong = []

    def work(name, call):
        for _ in range(200):
            try:
                call()
            except ValueError as error:
                if name not in str(error):
                    wrong.append(str(error))

    x = np.zeros((2, 3, 32), np.float32)
    cache = tamis.KVCache()
    threads = [
        threading.Thread(target=work, args=("rotary_dims", lambda: tamis.rope(x, tamis.RoPE(rotary_dims=33)))),
        threading.Thread(target=work, args=("pool", lambda: tamis.Selector(cache, tamis.TokenSelect(pool=2)))),
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_its_own_default_context(rng):
    x = normal(rng, 2, 8, 32)
    expected = tamis.attention(x, x, x)
    child = os.fork()
    if child == 0:
        same = (tamis.attention(x, x, x) == expected).all()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_build_info():
    info = tamis.build_info()
    assert info["version"] == tamis.version() == tamis.__version__
    assert {"isa", "openblas", "zstd", "opencl", "compiler"} <= set(info)
    assert info["isa"]["active"] in info["isa"]["available"]


def test_no_sequence_leaks_memory(rng):
    cache = tamis.KVCache(head_dim=64, max_tokens=4096)
    x = normal(rng, 1, 4096, 64)
    for _ in range(20):
        s = cache.sequence()
        s.append(x, x)
        del s
    assert cache.memory().pages_used == 0
