"""Puts libtamis.so and the shipped compressor into the wheel: the library TAMIS_LIBRARY_PATH names, else one built here with SwiftPM."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
#: The compressor that comes with the package: TAMIS_MODELS names the folder of models when this is no checkout.
MODELS = Path(os.environ.get("TAMIS_MODELS", ROOT / "Models"))
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")


def find_or_build() -> Path:
    given = os.environ.get("TAMIS_LIBRARY_PATH")
    if given:
        path = Path(given)
        path = path / "libtamis.so" if path.is_dir() else path
        if not path.is_file():
            sys.exit(f"TAMIS_LIBRARY_PATH is {given}, but {path} is no file")
        return path
    if not (ROOT / "Package.swift").is_file():
        sys.exit(f"no library to package: set TAMIS_LIBRARY_PATH, or build from a checkout ({ROOT} has no Package.swift)")
    if shutil.which("swift") is None:
        sys.exit("no library to package: install Swift 6.3 to build it, or set TAMIS_LIBRARY_PATH to a libtamis.so")
    subprocess.run([ROOT / "cmake" / "library.sh"], cwd=ROOT, check=True)
    return ROOT / ".build" / "release" / "libtamis.so"


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        # An editable install finds the library in the build tree.
        if not self.editable_mode:
            target = Path(self.build_lib) / "tamis" / "lib" / "libtamis.so"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(find_or_build(), target)
            for name in MODEL_FILES:
                source = MODELS / "compressor-en" / name
                if source.is_file():
                    copy = Path(self.build_lib) / "tamis" / "models" / "compressor-en" / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, copy)


class AnyPythonThisPlatform(bdist_wheel):
    """The library is plain C to Python: one wheel per platform serves every version."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


class WithBinary(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(distclass=WithBinary, cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": AnyPythonThisPlatform})
