"""The paged cache: append, read, fork, truncate, memory, snapshots."""

import os
import struct

import numpy as np
import pytest
from conftest import plain, stored

import tamis


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def cache_of(ctx, dtype="f32", **options):
    return tamis.KVCache(**{"layers": 2, "kv_heads": 2, "head_dim": 16, "page_tokens": 16, "max_tokens": 640, "dtype": dtype,
                            "ctx": ctx, **options})


def held(x, dtype):
    """What a cache of `dtype` holds of x."""
    return stored(x, dtype)[1]


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("source", ["f32", "f16", "bf16", "i8"])
def test_append_and_read_back(ctx, rng, dtype, source):
    cache = cache_of(ctx, dtype)
    s = cache.sequence()
    k, v = normal(rng, 2, 50, 16), normal(rng, 2, 50, 16)
    for a, b in [(0, 1), (1, 15), (15, 16), (16, 50)]:
        s.append(stored(k[:, a:b], source)[0], stored(v[:, a:b], source)[0])
    assert s.length(0) == len(s) == 50 and s.length(1) == 0
    got_k, got_v = s.read()
    assert got_k.dtype == np.float32 and got_k.shape == (2, 50, 16)
    if dtype == "i8" and source != "i8":
        for got, x in ((got_k, k), (got_v, v)):
            true = stored(x, source)[1]
            assert (np.abs(got - true) <= np.abs(true).max(-1, keepdims=True) / 127 * 0.501).all()
    elif dtype == "i8" or source == "i8":
        np.testing.assert_allclose(got_k, stored(k, source)[1], atol=0.02)
    else:
        np.testing.assert_array_equal(got_k, held(stored(k, source)[1], dtype))
        np.testing.assert_array_equal(got_v, held(stored(v, source)[1], dtype))


def test_read_ranges_and_dtypes(ctx, rng):
    s = cache_of(ctx).sequence()
    k, v = normal(rng, 2, 70, 16), normal(rng, 2, 70, 16)
    s.append(k, v, layer=1)
    for a, b in [(0, 70), (0, 0), (70, 70), (5, 6), (15, 49)]:
        got_k, got_v = s.read(a, b, layer=1)
        np.testing.assert_array_equal(got_k, k[:, a:b])
        np.testing.assert_array_equal(got_v, v[:, a:b])
    for dtype in ("f16", "bf16"):
        np.testing.assert_array_equal(plain(s.read(3, 9, layer=1, dtype=dtype)[0]), held(k[:, 3:9], dtype))


def test_append_strided(ctx, rng):
    s = cache_of(ctx).sequence()
    k = normal(rng, 9, 2, 16).transpose(1, 0, 2)
    v = normal(rng, 2, 18, 32)[:, ::-2, 8:24]
    s.append(k, v)
    got_k, got_v = s.read()
    np.testing.assert_array_equal(got_k, k)
    np.testing.assert_array_equal(got_v, v)


def test_options_are_rounded_and_reported(ctx):
    cache = tamis.KVCache(
        layers=3, kv_heads=2, head_dim=24, dtype="bf16", page_tokens=32, max_tokens=100, scoring_copy="i8", ctx=ctx,
        rope=tamis.RoPE("interleaved", 8, 5e5, 0.5))
    assert cache.options == tamis.KVOptions(3, 2, 24, "bf16", 32, 128, tamis.RoPE("interleaved", 8, 5e5, 0.5), "i8")


def test_fork_shares_pages_and_copies_on_write(ctx, rng):
    cache = cache_of(ctx, layers=1)
    a = cache.sequence()
    k, v = normal(rng, 2, 40, 16), normal(rng, 2, 40, 16)
    a.append(k, v)
    before = cache.memory()
    b, c = a.fork(), a.fork(20)
    assert (len(b), len(c)) == (40, 20) and len({a.id, b.id, c.id}) == 3
    shared = cache.memory()
    assert shared.pages_used == before.pages_used == 3 and shared.pages_shared == 3 and shared.sequences == 3
    more = normal(rng, 2, 30, 16)
    b.append(more, more)
    c.append(-more, -more)
    a.append(2 * more, 2 * more)
    np.testing.assert_array_equal(a.read()[0], np.concatenate([k, 2 * more], 1))
    np.testing.assert_array_equal(b.read()[0], np.concatenate([k, more], 1))
    np.testing.assert_array_equal(c.read()[1], np.concatenate([v[:, :20], -more], 1))


def test_fork_of_uneven_layers(ctx, rng):
    s = cache_of(ctx).sequence()
    s.append(*normal(rng, 2, 2, 30, 16))
    s.append(*normal(rng, 2, 2, 20, 16), layer=1)
    f = s.fork()
    assert (f.length(0), f.length(1)) == (20, 20)
    with pytest.raises(ValueError, match="n_tokens"):
        s.fork(21)
    with pytest.raises(ValueError, match="n_tokens"):
        s.fork(-1)


def test_truncate_and_append_again(ctx, rng):
    cache = cache_of(ctx)
    s = cache.sequence()
    k, v = normal(rng, 2, 45, 16), normal(rng, 2, 45, 16)
    s.append(k, v)
    s.append(k[:, :10], v[:, :10], layer=1)
    f = s.fork(10)
    s.truncate(17)
    assert (s.length(0), s.length(1)) == (17, 10)
    s.append(v[:, :8], k[:, :8])
    np.testing.assert_array_equal(s.read()[0], np.concatenate([k[:, :17], v[:, :8]], 1))
    np.testing.assert_array_equal(f.read()[0], k[:, :10])
    s.truncate(0)
    assert s.length(0) == s.length(1) == 0
    with pytest.raises(ValueError, match="n_tokens"):
        s.truncate(-1)


def test_memory_report(ctx, rng):
    cache = cache_of(ctx, "f16", scoring_copy="i8")
    empty = cache.memory()
    assert (empty.sequences, empty.pages_used, empty.bytes_used, empty.tokens, empty.pages_total) == (0, 0, 0, 0, 40)
    s = cache.sequence()
    s.append(*normal(rng, 2, 2, 17, 16))
    m = cache.memory()
    assert (m.sequences, m.pages_used, m.tokens) == (1, 2, 17)
    scoring = 2 * (2 * 16 * 16 + 2 * 16 * 4)
    assert m.page_bytes == 2 * 2 * 2 * 16 * 16 * 2 + scoring
    assert m.bytes_used == 2 * m.page_bytes and m.bytes_scoring_copy == 2 * scoring
    s.close()
    assert cache.memory() == empty


def test_sequences_are_freed_when_collected(cpu, rng):
    cache = cache_of(cpu)
    s = cache.sequence()
    s.append(*normal(rng, 2, 2, 17, 16))
    del s
    assert cache.memory().sequences == 0 and cache.memory().pages_used == 0


def test_a_full_cache_loses_nothing(ctx, rng):
    cache = cache_of(ctx, max_tokens=48, layers=1)
    a, b = cache.sequence(), cache.sequence()
    k = normal(rng, 2, 40, 16)
    a.append(k, k)
    with pytest.raises(tamis.CacheFullError):
        b.append(k[:, :16], k[:, :16])
    with pytest.raises(tamis.CacheFullError):
        a.append(k[:, :9], k[:, :9])
    assert len(a) == 40 and len(b) == 0
    np.testing.assert_array_equal(a.read()[0], k)
    a.append(k[:, :8], k[:, :8])
    assert len(a) == 48
    a.truncate(16)
    b.append(k[:, :32], k[:, :32])
    np.testing.assert_array_equal(b.read()[1], k[:, :32])


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_non_finite_values_are_stored_as_they_are(ctx, dtype):
    s = cache_of(ctx, dtype, layers=1).sequence()
    x = np.zeros((2, 3, 16), np.float32)
    x[0, 1, :3] = [np.nan, np.inf, -np.inf]
    s.append(x, x)
    np.testing.assert_array_equal(s.read()[0], x)


def test_non_finite_values_in_an_i8_cache(ctx):
    s = cache_of(ctx, "i8", layers=1).sequence()
    x = np.zeros((2, 3, 16), np.float32)
    x[0, 1, :5] = [np.nan, np.inf, -np.inf, 1.0, -0.5]
    s.append(x, x)
    np.testing.assert_allclose(s.read()[0][0, 1, :5], [0, 0, 0, 1.0, -0.5], atol=0.005)


@pytest.mark.parametrize("argument, options", [
    ("layers", {"layers": 0}), ("layers", {"layers": 2**31}), ("kv_heads", {"kv_heads": -1}), ("head_dim", {"head_dim": 20}),
    ("head_dim", {"head_dim": 264}), ("page_tokens", {"page_tokens": 24}), ("page_tokens", {"page_tokens": 8192}),
    ("max_tokens", {"max_tokens": 0}), ("max_tokens", {"max_tokens": 2**62}), ("dtype", {"dtype": "i32"}),
    ("dtype", {"dtype": "float64"}), ("scoring_copy", {"scoring_copy": "f32"}), ("rope|style", {"rope": tamis.RoPE("x")}),
    ("rope|rotary_dims", {"rope": tamis.RoPE(rotary_dims=17)}), ("rope|base", {"rope": tamis.RoPE(base=0.0)}),
    ("rope|scale", {"rope": tamis.RoPE(scale=float("inf"))}),
], ids=str)
def test_bad_options(cpu, argument, options):
    with pytest.raises(tamis.TamisError, match=argument):
        cache_of(cpu, **options)


def test_bad_appends(cpu, rng):
    s = cache_of(cpu).sequence()
    good = normal(rng, 2, 3, 16)
    for match, k, v, layer in [
        ("k", normal(rng, 1, 3, 16), normal(rng, 1, 3, 16), 0), ("k", normal(rng, 2, 3, 8), good, 0),
        ("v", good, normal(rng, 2, 4, 16), 0), ("layer", good, good, 2), ("layer", good, good, -1),
        ("layer", good, good, "0"), ("k", good.astype(np.float64), good, 0), ("k", good[0], good[0], 0),
        ("v", good, normal(rng, 2, 3, 32)[..., ::2], 0), ("v", good, None, 0), ("k", good[:, :0], good[:, :0], 0),
    ]:
        with pytest.raises(ValueError, match=rf"\b{match}\b"):
            s.append(k, v, layer=layer)
    assert len(s) == 0
    with pytest.raises(ValueError, match="layer"):
        s.length(5)
    with pytest.raises(ValueError, match="start"):
        s.read(1)


def test_closed_objects_say_so(cpu):
    cache = cache_of(cpu)
    s = cache.sequence()
    s.close()
    with pytest.raises(tamis.NotFoundError, match=str(s.id)):
        s.length()
    s.close()
    cache.close()
    cache.close()
    with pytest.raises(ValueError, match="closed"):
        cache.sequence()


# ---------------------------------------------------------------------------------------------------- snapshots


@pytest.fixture
def snapshot(cpu, rng, tmp_path):
    """A file of three sequences, two of which share pages, and their contents."""
    cache = cache_of(cpu, "bf16", rope=tamis.RoPE(base=5e5))
    a = cache.sequence()
    for layer in range(2):
        a.append(*normal(rng, 2, 2, 50, 16), layer=layer)
    b = a.fork(20)
    b.append(*normal(rng, 2, 2, 9, 16))
    c = cache.sequence()
    path = tmp_path / "a.tamis"
    cache.save(path)
    contents = [[s.read(layer=l) for l in range(2)] for s in (a, b, c)]
    return path, contents


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_round_trip(ctx, rng, tmp_path, dtype):
    cache = cache_of(ctx, dtype, scoring_copy="bf16")
    a, b = cache.sequence(), cache.sequence()
    a.append(*normal(rng, 2, 2, 70, 16))
    a.append(*normal(rng, 2, 2, 33, 16), layer=1)
    b.append(*normal(rng, 2, 2, 5, 16))
    path = tmp_path / "x.tamis"
    cache.save(path, [b, a], level=1, progress=False)
    info = tamis.snapshot_info(path)
    assert info.sequences == 2
    assert (info.options.dtype, info.options.layers, info.options.scoring_copy) == (dtype, 2, "bf16")
    other = cache_of(ctx, dtype)
    nb, na = other.restore(path, progress=False)
    assert (na.length(0), na.length(1), nb.length(0), nb.length(1)) == (70, 33, 5, 0)
    for old, new in ((a, na), (b, nb)):
        for layer in range(2):
            for x, y in zip(old.read(layer=layer), new.read(layer=layer)):
                np.testing.assert_array_equal(x, y)
    na.append(*normal(rng, 2, 2, 3, 16))
    assert len(na) == 73


def test_from_snapshot(cpu, snapshot):
    path, contents = snapshot
    cache, sequences = tamis.KVCache.from_snapshot(path, ctx=cpu)
    assert cache.options.rope == tamis.RoPE(rotary_dims=16, base=5e5) and len(sequences) == 3
    for s, layers in zip(sequences, contents):
        for layer, (k, v) in enumerate(layers):
            np.testing.assert_array_equal(s.read(layer=layer)[0], k)
            np.testing.assert_array_equal(s.read(layer=layer)[1], v)
    memory = cache.memory()
    assert (memory.pages_used, memory.pages_shared) == (5, 1)  # of the fork's two pages the partly filled one was copied


def test_save_replaces_the_file_or_leaves_it(cpu, snapshot, tmp_path):
    path, _ = snapshot
    before = path.read_bytes()
    cache = cache_of(cpu)
    cache.sequence()
    with pytest.raises(ValueError, match="level"):
        cache.save(path, level=99)
    with pytest.raises(ValueError, match="sequences"):
        cache.save(path, [])
    other = cache_of(cpu).sequence()
    with pytest.raises(ValueError, match="another cache"):
        cache.save(path, [other])
    assert path.read_bytes() == before
    cache.save(path)
    assert tamis.snapshot_info(path).options.dtype == "f32"
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(OSError):
        cache.save(tmp_path / "no" / "folder" / "x")


def test_missing_file(cpu, tmp_path):
    for call in (tamis.snapshot_info, cache_of(cpu).restore):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "nothing")


@pytest.mark.parametrize("options", [
    {"dtype": "f32"}, {"layers": 1}, {"kv_heads": 1}, {"head_dim": 24}, {"page_tokens": 32}, {"rope": None},
    {"rope": tamis.RoPE(base=1e4)},
], ids=str)
def test_a_snapshot_of_another_shape_adds_nothing(cpu, snapshot, options):
    cache = cache_of(cpu, **{"dtype": "bf16", "rope": tamis.RoPE(base=5e5), **options})
    with pytest.raises(ValueError):
        cache.restore(snapshot[0])
    assert cache.memory().sequences == 0


def test_restore_into_a_full_cache_adds_nothing(cpu, snapshot):
    cache = cache_of(cpu, "bf16", rope=tamis.RoPE(base=5e5), max_tokens=32)
    with pytest.raises(tamis.CacheFullError):
        cache.restore(snapshot[0])
    assert cache.memory().sequences == 0 and cache.memory().pages_used == 0


def restore_damaged(cpu, path):
    """FormatError or nothing changed; never a crash, never half a cache."""
    cache = cache_of(cpu, "bf16", rope=tamis.RoPE(base=5e5))
    with pytest.raises(tamis.TamisError) as caught:
        cache.restore(path, progress=False)
    assert isinstance(caught.value, (tamis.FormatError, tamis.InvalidArgumentError)), caught.value
    assert cache.memory().sequences == 0 and cache.memory().pages_used == 0


def test_truncated_files(cpu, snapshot):
    path, _ = snapshot
    data = path.read_bytes()
    for n in {0, 1, 7, 8, 31, 64, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 1}:
        path.write_bytes(data[:n])
        restore_damaged(cpu, path)


def test_every_flipped_byte_is_found(cpu, snapshot):
    path, _ = snapshot
    data = path.read_bytes()
    step = max(1, len(data) // 150)
    for i in [*range(0, min(64, len(data))), *range(64, len(data), step), len(data) - 1]:
        damaged = bytearray(data)
        damaged[i] ^= 0x41
        path.write_bytes(damaged)
        restore_damaged(cpu, path)


def test_foreign_files(cpu, tmp_path):
    path = tmp_path / "x"
    for data in (b"", b"PK\x03\x04" + bytes(500), bytes(4096), b"{}", struct.pack("<Q", 2**63) * 100):
        path.write_bytes(data)
        restore_damaged(cpu, path)
        with pytest.raises(tamis.FormatError):
            tamis.snapshot_info(path)


def test_appended_bytes_are_refused_or_ignored_whole(cpu, snapshot):
    path, contents = snapshot
    path.write_bytes(path.read_bytes() + b"tail")
    cache = cache_of(cpu, "bf16", rope=tamis.RoPE(base=5e5))
    try:
        restored = cache.restore(path)
    except tamis.FormatError:
        assert cache.memory().sequences == 0
    else:
        np.testing.assert_array_equal(restored[0].read()[0], contents[0][0][0])


def test_many_sequences(cpu, tmp_path):
    cache = cache_of(cpu, layers=1)
    for i in range(40):
        s = cache.sequence()
        s.append(np.full((2, 1, 16), i, np.float32), np.zeros((2, 1, 16), np.float32))
        keep = [s] if i == 0 else [*keep, s]
    cache.save(tmp_path / "x")
    restored = cache_of(cpu, layers=1).restore(tmp_path / "x")
    assert [int(s.read()[0][0, 0, 0]) for s in restored] == list(range(40))


def test_save_and_restore_report_progress_and_cancel(cpu, snapshot, rng, tmp_path):
    cache = cache_of(cpu)
    s = cache.sequence()
    s.append(*normal(rng, 2, 2, 400, 16))
    seen = []
    path = tmp_path / "p"
    cache.save(path, progress=seen.append)
    assert seen and seen == sorted(seen) and 0 <= seen[0] <= seen[-1] <= 1
    with pytest.raises(tamis.CancelledError):
        cache.save(tmp_path / "cancelled", progress=lambda done: False)
    assert not (tmp_path / "cancelled").exists()
    other = cache_of(cpu)
    with pytest.raises(ZeroDivisionError):
        other.restore(path, progress=lambda done: 1 / 0)
    assert other.memory().sequences == 0 and other.memory().pages_used == 0
    assert len(other.restore(path)[0]) == 400
