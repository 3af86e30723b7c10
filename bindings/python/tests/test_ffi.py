"""The ctypes declarations against include/tamis/*.h: constants, structs, functions, one by one."""

import ctypes
import re
import shutil
import subprocess
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path

import pytest

import tamis
from tamis import _ffi

ROOT = Path(__file__).resolve().parents[3]
HEADERS = sorted((ROOT / "include" / "tamis").glob("*.h"))
pytestmark = pytest.mark.skipif(not HEADERS, reason="the headers are not here")


def source() -> str:
    text = "\n".join(h.read_text() for h in HEADERS)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return text.replace("\\\n", " ")


def code() -> str:
    """The declarations: no preprocessor lines, no attributes."""
    text = re.sub(r"^\s*#.*$", "", source(), flags=re.M)
    return re.sub(r'\bTAMIS_MUST_CHECK\b|extern "C" \{', " ", text)


SCALARS = {
    "int32_t": c_int32, "uint32_t": c_uint32, "int64_t": c_int64, "uint64_t": c_uint64, "uint8_t": c_uint8,
    "size_t": c_size_t, "float": c_float, "double": c_double,
    "void": None,
}


def typedefs() -> dict:
    names = dict(SCALARS)
    for old, new in re.findall(r"typedef (\w+) (\w+);", code()):
        names[new] = names[old]
    for tag, new in re.findall(r"typedef struct (\w+) (\w+);", code()):
        assert tag == new
        names[new] = getattr(_ffi, new)
    for tag, new in re.findall(r"typedef struct (\w+) \{[^}]*\} (\w+);", code()):
        assert tag == new
        names[new] = getattr(_ffi, new)
    for new in re.findall(r"typedef \w+ \(\*(\w+)\)\(", code()):
        names[new] = getattr(_ffi, new)
    return names


def ctype(text: str, names: dict):
    """The ctypes type of "const tamis_tensor *", "char *", "int64_t"."""
    stars = text.count("*")
    base = text.replace("*", " ").replace("const", " ").split()
    assert len(base) == 1, text
    if base[0] == "char":
        kind = c_char_p
        for _ in range(stars - 1):
            kind = POINTER(kind)
        return kind
    if base[0] == "void" and stars == 1:
        return c_void_p
    kind = names[base[0]]
    for _ in range(stars):
        kind = POINTER(kind)
    return kind


def parameter(text: str, names: dict):
    kind, star, name = re.fullmatch(r"\s*(.*?)(\**)(\w+)\s*", text, flags=re.S).groups()
    return ctype(kind + star, names), name


def structs() -> dict:
    names = typedefs()
    found = {}
    for tag, body in re.findall(r"typedef struct (\w+) \{([^}]*)\}", code()):
        fields = []
        for line in filter(str.strip, body.split(";")):
            first, *others = line.split(",")  # float low, high;
            length = re.search(r"\[(\w+)\]", first)
            kind, name = parameter(re.sub(r"\[\w+\]", "", first), names)
            fields.append((name, kind * getattr(_ffi, length[1]) if length else kind))
            fields += [(other.strip(), kind) for other in others]
        found[tag] = fields
    return found


def functions() -> dict:
    names = typedefs()
    found = {}
    for result, name, arguments in re.findall(r"([\w ]+[ *]+)(tamis_\w+)\(([^()]*)\);", re.sub(r"typedef[^;{]*;", "", code())):
        listed = [] if arguments.strip() == "void" else [parameter(a, names)[0] for a in arguments.split(",")]
        found[name] = (ctype(result, names), tuple(listed))
    return found


def test_every_function_is_declared_as_in_the_header():
    header = functions()
    assert len(header) > 40
    assert set(header) == set(_ffi.FUNCTIONS)
    for name, (result, arguments) in header.items():
        assert _ffi.FUNCTIONS[name] == (result, arguments), name


def test_fallible_functions_are_those_that_return_tamis_status():
    header = set(re.findall(r"tamis_status (tamis_\w+)\(", code()))
    assert header == set(_ffi.FALLIBLE)


def test_callbacks_are_declared_as_in_the_header():
    names = typedefs()
    for result, name, arguments in re.findall(r"typedef (\w+) \(\*(\w+)\)\(([^()]*)\);", code()):
        kind = getattr(_ffi, name)
        assert kind._restype_ == names[result]
        assert tuple(kind._argtypes_) == tuple(parameter(a, names)[0] for a in arguments.split(","))


def test_every_struct_has_the_fields_of_the_header():
    header = structs()
    assert len(header) >= 8
    for tag, fields in header.items():
        assert [(n, k) for n, k in getattr(_ffi, tag)._fields_] == fields, tag


def macros() -> dict:
    """Constants; the include guards and the _INIT and attribute macros are none."""
    found = {}
    for name, value in re.findall(r"^#define (TAMIS_\w+)[ \t]+(.+?)\s*$", source(), flags=re.M):
        if not name.endswith("_INIT") and name != "TAMIS_MUST_CHECK":
            found[name] = eval(value, {"INT64_MIN": -(2**63)}, found)
    return found


def test_every_constant_has_the_value_of_the_header():
    header = macros()
    assert len(header) > 35
    ours = {n: v for n, v in vars(_ffi).items() if n.startswith("TAMIS_")}
    assert ours == header


def test_every_status_has_an_exception():
    codes = {v for n, v in macros().items() if n.startswith("TAMIS_ERR_")}
    from tamis import errors

    assert set(errors.BY_STATUS) == codes
    for kind in errors.BY_STATUS.values():
        assert getattr(_ffi, kind.status_name) == kind.status


def test_struct_sizes_and_offsets_are_those_of_the_compiler(tmp_path):
    compiler = shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = ["#include <stdio.h>", '#include "tamis.h"', "int main(void) {"]
    for tag in structs():
        lines.append(f'printf("{tag} %zu\\n", sizeof({tag}));')
        for field, _ in getattr(_ffi, tag)._fields_:
            lines.append(f'printf("{tag}.{field} %zu\\n", offsetof({tag}, {field}));')
    (tmp_path / "sizes.c").write_text("\n".join(lines + ["return 0; }"]))
    subprocess.run([compiler, "-I", ROOT / "include", "-o", tmp_path / "sizes", tmp_path / "sizes.c"], check=True)
    printed = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True).stdout
    for line in printed.splitlines():
        name, size = line.split()
        tag, _, field = name.partition(".")
        kind = getattr(_ffi, tag)
        assert (getattr(kind, field).offset if field else ctypes.sizeof(kind)) == int(size), name


def test_versions_agree():
    dotted = f"{_ffi.TAMIS_VERSION_MAJOR}.{_ffi.TAMIS_VERSION_MINOR}.{_ffi.TAMIS_VERSION_PATCH}"
    assert tamis.__version__ == dotted
    assert f'version = "{dotted}"' in (ROOT / "bindings" / "python" / "pyproject.toml").read_text()


INIT = [
    "tamis_encoder_options", "tamis_sparse_options",
    "tamis_context_options", "tamis_attention_options", "tamis_kv_options", "tamis_selector_options", "tamis_specpc_options",
    "tamis_cluster_options", "tamis_annotate_options", "tamis_compressor_options", "tamis_compress_options",
    "tamis_bleu_options", "tamis_word_options", "tamis_chrf_options",
    "tamis_cdpo_weight_options", "tamis_treg_options", "tamis_rmt_options", "tamis_caft_options", "tamis_key_options",
    "tamis_logit_options",
]


@pytest.mark.parametrize("tag", INIT)
def test_the_library_fills_the_defaults_of_the_init_macro(tag):
    from tamis._lib import library

    kind = getattr(_ffi, tag)
    options = kind()
    getattr(library(), f"{tag}_init")(ctypes.byref(options))
    assert options.struct_size == ctypes.sizeof(kind)
    text = source()
    body = re.search(rf"#define {tag.upper()}_INIT\s*\{{(.*?)\}}\s*$", text, flags=re.M)[1]
    rope = re.search(r"#define TAMIS_ROPE_INIT \{(.*?)\}", text)[1]
    body = re.sub(r"sizeof\(\w+\)", "0", body.replace("TAMIS_ROPE_INIT", f"({rope},)"))
    body = re.sub(r"([\d.])f\b", r"\1", body).replace("NULL", "None")
    values = eval(f"({body})", macros())
    for (field, _), value in list(zip(kind._fields_, values, strict=True))[1:]:
        found = getattr(options, field)
        if isinstance(value, tuple):
            assert tuple(getattr(found, f) for f, _ in found._fields_) == value
        elif value is None:
            assert not found
        else:
            assert found == pytest.approx(value, rel=1e-7), field


def test_dataclass_defaults_are_those_of_the_library():
    from tamis._lib import library

    options = _ffi.tamis_selector_options()
    library().tamis_selector_options_init(ctypes.byref(options))
    method = tamis.TokenSelect()
    assert (method.n_sink, method.n_recent, method.top_k, method.chunk, method.pool) == (
        options.n_sink, options.n_recent, options.top_k, options.chunk, options.pool)
    assert method.similarity == pytest.approx(options.similarity)
    streaming = tamis.StreamingLLM()
    assert (streaming.n_sink, streaming.n_recent, streaming.chunk) == (options.n_sink, options.n_recent, options.chunk)
