"""The examples run, from a folder that is not theirs, and say what they claim."""

import pathlib
import re
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples"
ARGUMENTS = {
    "demo": ["--folder", "demo", "--cells", "12"],
    "convergence_figure": ["convergence.png"],
}
pytestmark = pytest.mark.slow


def run(name, folder):
    """An example in a process of its own; warnings are errors, so that none of them prints one."""
    command = [sys.executable, "-W", "error::UserWarning", str(FOLDER / f"{name}.py"), *ARGUMENTS.get(name, [])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ARGUMENTS))
def test_example_runs(name, tmp_path):
    assert run(name, tmp_path).strip()
    assert not list(tmp_path.iterdir())


def test_demo_leaves_its_files(tmp_path):
    said = run("demo", tmp_path)
    assert "✓ converged" in said
    for name in ("bar", "plate"):
        for end in (".mtx", "_b.mtx", "_residual.png", "_residual.csv", "_methods.png"):
            assert (tmp_path / "demo" / f"{name}{end}").stat().st_size > 0
            assert f"{name}{end}" in said


def test_figure_is_small(tmp_path):
    run("convergence_figure", tmp_path)
    assert 10_000 < (tmp_path / "convergence.png").stat().st_size < 150_000


def test_units_leave_the_bits_alone(tmp_path):
    assert len(re.findall(r"True$", run("units", tmp_path), re.MULTILINE)) == 5


def test_wrong_interval_is_named(tmp_path):
    assert "The upper end" in run("chebyshev_bounds", tmp_path)
