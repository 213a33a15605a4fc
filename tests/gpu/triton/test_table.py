"""The table of kernels: every kernel is in it, and each compiles to what is on record, with no device present."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

triton = pytest.importorskip("triton")
pytest.importorskip("torch")

from resolvent.gpu.triton import table  # noqa: E402
from resolvent.gpu.triton.launching import tuned  # noqa: E402

ROOT = pathlib.Path(__file__).parents[3]
FOLDER = ROOT / "gpu" / "triton"
SCRIPT = ROOT / "benchmarks" / "compiled_kernels.py"
RECORD = json.loads((ROOT / "benchmarks" / "results" / "compiled_kernels.json").read_text())
same_version = pytest.mark.skipif(
    triton.__version__ != RECORD["triton"],
    reason=f"the record is of Triton {RECORD['triton']}, which compiles otherwise",
)


def kernels_in(path):
    """Names of the functions that are launched: those for Triton to compile that end in _kernel; others are parts."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name.endswith("_kernel")
        and any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def test_every_kernel_is_in_the_table():
    written = {
        (".".join(path.relative_to(FOLDER).with_suffix("").parts), name)
        for path in FOLDER.rglob("*.py")
        for name in kernels_in(path)
    }
    assert ("rounding", "_round_kernel") in written
    assert {module for module, _ in written} == set(table.MODULES)
    prefix = len(table.__name__.rpartition(".")[0]) + 1
    registered = {(row.kernel.fn.__module__[prefix:], row.kernel.fn.__name__) for row in table.rows().values()}
    assert registered == written


def test_what_is_on_record_is_the_table():
    assert set(RECORD["kernels"]) == set(table.rows())
    architectures = {f"sm_{architecture}" for architecture in table.ARCHITECTURES}
    assert all(set(found) == architectures for found in RECORD["kernels"].values())


def test_every_kernel_fits_a_device_of_its_architecture():
    """What asks for more compiles all the same, to a trap; the limits are those of CUDA's programming guide."""
    shared = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}
    for name, by_architecture in RECORD["kernels"].items():
        for architecture, found in by_architecture.items():
            assert found["shared"] <= shared[architecture], name
            assert found["columns"] <= 512, name
            assert found["registers"] > 8, name


def test_the_record_is_of_the_pinned_version():
    assert f"\ntriton=={RECORD['triton']};" in (ROOT / "constraints.txt").read_text()


def compared(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@same_version
def test_a_kernel_compiles_to_what_is_on_record():
    run = compared("--only", "round[float32, nearest-even]")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("1 kernels, as recorded")


@same_version
@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({name.partition("[")[0] for name in RECORD["kernels"]}))
def test_all_kernels_compile_to_what_is_on_record(kind):
    run = compared("--only", f"{kind}[")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def empty(monkeypatch):
    monkeypatch.setattr(table, "_ROWS", {})


@triton.jit
def _copy(x, y, BLOCK: triton.language.constexpr):
    index = triton.language.arange(0, BLOCK)
    triton.language.store(y + index, triton.language.load(x + index))


def test_a_row_for_each_configuration(empty):
    configurations = [{"BLOCK": size, "num_warps": size // 32, "num_stages": 2} for size in (64, 128)]
    table.register("copy", tuned(configurations, ())(_copy), {"x": "*fp32", "y": "*fp32"}, {})
    names = ["copy{BLOCK=64, warps=2, stages=2}", "copy{BLOCK=128, warps=4, stages=2}"]
    assert list(table._ROWS) == names
    assert [row.constants["BLOCK"] for row in table._ROWS.values()] == [64, 128]
    assert [row.num_warps for row in table._ROWS.values()] == [2, 4]


def test_names_and_arguments_are_checked(empty):
    signature = {"x": "*fp32", "y": "*fp32"}
    table.register("copy", _copy, signature, {"BLOCK": 64})
    with pytest.raises(ValueError, match="name: found 'copy' a second time"):
        table.register("copy", _copy, signature, {"BLOCK": 128})
    with pytest.raises(ValueError, match="signature, constants: found x, y; wanted each of x, y, BLOCK once"):
        table.register("other", _copy, signature, {})
