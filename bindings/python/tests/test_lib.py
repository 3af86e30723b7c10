"""Finding the library, and the package as a whole."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tamis
from tamis import _lib, errors

ROOT = Path(__file__).resolve().parents[3]


def python(code, *arguments, **environment):
    env = {**os.environ, "PYTHONPATH": str(Path(tamis.__file__).parents[1]), **environment}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env)


def test_importing_needs_neither_the_library_nor_torch():
    run = python("import sys, tamis; assert not {'torch', 'transformers', 'tqdm'} & set(sys.modules)", TAMIS_LIBRARY_PATH="/no")
    assert run.returncode == 0, run.stderr


def test_every_tried_path_is_listed(tmp_path):
    run = python("import tamis\ntry: tamis.version()\nexcept ImportError as e: print(e)", TAMIS_LIBRARY_PATH=str(tmp_path))
    assert f"{tmp_path}/libtamis.so: no such file" in run.stdout
    copy = tmp_path / "tamis"
    shutil.copytree(Path(tamis.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "lib"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    env.pop("TAMIS_LIBRARY_PATH", None)
    code = "import tamis, tamis._lib as l; print(list(l._candidates()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert ast.literal_eval(run.stdout)[0] == str(copy / "lib" / "libtamis.so")


def test_another_library_is_refused(tmp_path):
    path = tmp_path / "libtamis.so"
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    code = "import tamis\ntry: tamis.version()\nexcept ImportError as e: print(e)"
    for source, expected in [
        ("int x;", "no tamis_version_number"),
        ("unsigned tamis_version_number(void) { return 7000; }", "version 0.7.0"),
        ("unsigned tamis_version_number(void) { return 1000; }", "lacks tamis_"),
    ]:
        (tmp_path / "x.c").write_text(source)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", path, tmp_path / "x.c"], check=True)
        run = python(code, TAMIS_LIBRARY_PATH=str(path))
        assert expected in run.stdout, (run.stdout, run.stderr)
    path.write_text("no library")
    assert str(path) in python(code, TAMIS_LIBRARY_PATH=str(path)).stdout


def test_loading_happens_once():
    assert _lib.library() is _lib.library()


def test_exceptions_are_builtin_ones_too():
    expected = {
        -1: ValueError, -2: NotImplementedError, -3: MemoryError, -4: ValueError, -10: RuntimeError, -11: LookupError,
        -20: OSError, -21: ValueError, -30: RuntimeError, -31: RuntimeError, -40: RuntimeError, -99: RuntimeError,
    }
    for status, builtin in expected.items():
        error = errors.from_status(status, "NAME", "a sentence")
        assert isinstance(error, builtin) and isinstance(error, tamis.TamisError)
        assert (error.status, str(error)) == (status, "a sentence")
    missing = errors.from_status(-11, "NAME", "a sentence", is_path=True)
    assert isinstance(missing, FileNotFoundError) and str(missing) == "a sentence"
    unknown = errors.from_status(-77, "NAME", "")
    assert type(unknown) is tamis.TamisError and (unknown.status, str(unknown)) == (-77, "NAME")


def test_status_names_come_from_the_library():
    for status, kind in errors.BY_STATUS.items():
        assert _lib.library().tamis_status_name(status).decode() == kind.status_name
    assert _lib.library().tamis_status_name(5).decode() == "unknown status"


def test_everything_public_is_documented():
    assert sorted(tamis.__all__) == tamis.__all__
    for name in tamis.__all__:
        thing = getattr(tamis, name)
        if name != "Method":
            assert thing.__doc__, name
            if isinstance(thing, type):
                for part, value in vars(thing).items():
                    if not part.startswith("_") and callable(value) and part not in ("close", "c"):
                        assert value.__doc__, f"{name}.{part}"


EXAMPLE = ROOT / "examples" / "python" / "minimal.py"


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not here")
def test_example():
    run = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(tamis.__file__).parents[1])})
    assert run.returncode == 0, run.stderr
    assert "needle 12345" in run.stdout and "found" in run.stdout
