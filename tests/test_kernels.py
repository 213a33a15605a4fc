"""The cache of kernels: it notices a change in whatever a kernel calls, and does without a place to keep them."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import resolvent as rv
from resolvent import kernels

ROOT = pathlib.Path(rv.__file__).parent
PRODUCT = """
import sys
import numpy as np
from resolvent.backends.compiled import vectors
from resolvent.backends.compiled.products import DenseArrays
from resolvent.compilation import told

compiled = []
out = np.empty(2)
with told(compiled.append):
    vectors.matvec.serial(DenseArrays(np.array([[1.0, 2.0], [3.0, 4.0]])), np.ones(2), out)
assert [name for name in compiled if name] == compiled[:-1]  # then that it is done
print(*out, len(compiled[:-1]))
"""


def started(code, folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder)} | environment,
    )


def printed(process):
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out.split()


@pytest.fixture
def copied(tmp_path):
    """A folder with a copy of the package."""
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in ("tests", "benchmarks", "docs", "build") and not any(part.startswith(".") for part in parts):
            target = tmp_path / "resolvent" / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return tmp_path


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(copied):
    cache = str(copied / "cache")
    assert printed(started(PRODUCT, copied, NUMBA_CACHE_DIR=cache)) == ["3.0", "7.0", "1"]
    assert printed(started(PRODUCT, copied, NUMBA_CACHE_DIR=cache)) == ["3.0", "7.0", "0"]
    callee = copied / "resolvent" / "backends" / "compiled" / "products.py"
    text, line = callee.read_text(), "            total += row[j] * x[j]\n"
    assert text.count(line) == 1
    callee.write_text(text.replace(line, "            total += row[j] * (x[j] + x[j])\n"))
    before = list(pathlib.Path(cache).rglob("*.nbc"))
    assert printed(started(PRODUCT, copied, NUMBA_CACHE_DIR=cache)) == ["6.0", "14.0", "1"]
    # What was compiled of the other text is gone.
    assert len(list(pathlib.Path(cache).rglob("*.nbc"))) == len(before)


def test_of_two_processes_one_compiles(tmp_path):
    cache = str(tmp_path)
    both = [started(PRODUCT, ROOT.parent, NUMBA_CACHE_DIR=cache) for _ in range(2)]
    found = sorted(printed(process) for process in both)
    assert found == [["3.0", "7.0", "0"], ["3.0", "7.0", "1"]]


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same(tmp_path):
    kept = tmp_path / "kept"
    assert printed(started(PRODUCT, ROOT.parent, NUMBA_CACHE_DIR=str(kept))) == ["3.0", "7.0", "1"]
    # The cache holds what nobody can read, and takes nothing more.
    for path in kept.rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[:20])
    for path in kept.rglob("*.lock"):
        path.unlink()
        path.mkdir()
    assert printed(started(PRODUCT, ROOT.parent, NUMBA_CACHE_DIR=str(kept))) == ["3.0", "7.0", "1"]


def test_the_cache_looks_at_every_file_with_kernels():
    listed = {path for pattern in kernels.SOURCES for path in ROOT.glob(pattern)}
    for path in ROOT.rglob("*.py"):
        top = path.relative_to(ROOT).parts[0]
        if top.startswith(".") or top in ("tests", "benchmarks", "docs", "examples", "build", "dist"):
            continue
        imports = {
            (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom | ast.Import) and getattr(node, "level", 0) == 0
        }
        assert "numba" not in imports or path in listed, path
