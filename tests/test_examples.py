"""The examples run, from a folder that is not theirs, and say what they claim."""

import csv
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples"
ARGUMENTS = {
    "demo": ["--folder", "demo", "--cells", "12"],
    "convergence_figure": ["convergence.png"],
    "precision_figures": ["figures"],
    "muon": ["--steps", "2"],
    "recall": ["--steps", "4", "--pairs", "4"],
    "second_order_pooling": ["--steps", "60"],
}
LEARNING = {
    "heat_ssor_cg": ["--steps", "50"],
    "sequences": ["--systems", "40"],
    "shifted_laplacian": ["--systems", "40"],
}
PRECISION = ("condition_map", "residual_gap", "strakos_delays")  # figures of the page on precision
IMAGES = FOLDER.parent / "docs" / "images"
pytestmark = pytest.mark.slow


def run(name, folder, *more):
    """An example in a process of its own; warnings are errors, so that none of them prints one."""
    command = [sys.executable, "-W", "error::UserWarning", str(FOLDER / f"{name}.py"), *ARGUMENTS.get(name, []), *more]
    # One thread for torch: the suite's workers share the cores, and threads that wait for each other stall.
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {*ARGUMENTS, *LEARNING})
)
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


@pytest.mark.parametrize("name", LEARNING)
def test_sequences_are_learnt_and_drawn(name, tmp_path):
    said = run(name, tmp_path, *LEARNING[name], "--figure", "figure.png")
    assert "Auto" in said
    assert "TsallisINF" in said
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 150_000


def test_runs_that_are_kept_are_not_made_again(tmp_path):
    arguments = ["--steps", "20", "--no-grid", "--kept", "kept"]
    first, again = (run("heat_ssor_cg", tmp_path, *arguments) for _ in range(2))
    assert first == again  # the seconds too
    assert len(list((tmp_path / "kept").iterdir())) == 10


def test_layers_are_trained_and_their_regressions_solved(tmp_path):
    said = run("recall", tmp_path)
    rows = [line.split() for line in said.splitlines() if line.split()[0].isdigit()]
    assert [int(row[0]) for row in rows] == [0, 1, 2, 3, 4]
    assert all(float(row[3]) <= 3.01e-4 and float(row[4]) <= 53.1 for row in rows)


def test_schedules_are_compared_by_muon(tmp_path):
    said = run("muon", tmp_path)
    rows = [line.rsplit(maxsplit=4) for line in said.splitlines()[1:]]
    assert [int(row[1]) for row in rows] == [15, 10, 15, 15, 10, 15, 18, 0]
    assert all(0 < float(row[2]) < 4 for row in rows)


def test_covariances_tell_apart_what_means_do_not(tmp_path):
    rows = [line.split() for line in run("second_order_pooling", tmp_path).splitlines()[1:]]
    right = {name: float(rows[k][3].rstrip("%")) for k, (name, *_) in enumerate(rows)}  # the last of each
    assert right["covariances"] > 95
    assert right["means"] < 50


def table(path):
    """A CSV file as dicts."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What the script of the page on precision writes."""
    folder = tmp_path_factory.mktemp("precision")
    run("precision_figures", folder)
    return folder / "figures"


def test_precision_figures_are_small_and_complete(figures):
    wanted = [path.name for stem in PRECISION for path in IMAGES.glob(f"{stem}.*")]
    assert sorted(path.name for path in figures.iterdir()) == sorted(wanted)
    assert len(wanted) > len(PRECISION)
    for path in figures.glob("*.png"):
        assert 10_000 < path.stat().st_size < 150_000


def test_residuals_part_and_replacement_keeps_them_near(figures):
    rows = table(figures / "residual_gap.csv")
    for name, u in (("fp32", 2.0**-24), ("tf32", 2.0**-11), ("bf16", 2.0**-8)):
        last = {}
        for replacement in ("False", "True"):
            row = [row for row in rows if (row["format"], row["replacement"]) == (name, replacement)][-1]
            last[replacement] = float(row["true"])
            if replacement == "False":
                assert float(row["carried"]) < 1e-3 * last["False"]
        assert last["True"] < 0.6 * last["False"]
        assert last["True"] < 10 * 2 * u


def test_errors_over_the_condition_are_as_the_page_says(figures):
    units = {"fp64": 2.0**-53, "fp32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-8, "fp8_e4m3fn": 2.0**-4}
    rows = table(figures / "condition_map.csv")
    refined = [row for row in rows if row["method"] == "refine"]
    assert {row["format"] for row in rows} == set(units)
    assert {row["format"] for row in refined} == {"fp32", "tf32", "bf16"}
    for row in rows:
        kappa, u = float(row["condition"]), units[row["format"]]
        if row["method"] == "refine":
            if kappa * u <= 1:
                assert row["status"] == "CONVERGED"
            if row["status"] == "CONVERGED":
                assert float(row["backward error"]) <= 4e-16
        elif row["format"] != "fp8_e4m3fn":
            assert float(row["backward error"]) <= 10 * u
            if kappa * u <= 0.1:
                assert float(row["forward error"]) <= 2 * kappa * u


def test_delays_are_those_on_the_page(figures):
    found, shown = table(figures / "strakos_delays.csv"), table(IMAGES / "strakos_delays.csv")
    assert len(found) == len(shown) == 15
    for row, there in zip(found, shown, strict=True):
        assert (row["matrix"], row["arithmetic"]) == (there["matrix"], there["arithmetic"])
        for level in ("1e-02", "1e-04", "1e-08", "1e-12"):
            assert (row[level] == "-") == (there[level] == "-")
            if row[level] != "-":
                assert np.isclose(int(row[level]), int(there[level]), rtol=0.1)
        assert 0.25 < float(row["smallest error"]) / float(there["smallest error"]) < 4


def test_low_precision_says_what_it_reaches(tmp_path):
    said = run("low_precision", tmp_path)
    assert "cg on numba in bf16" in said
    assert "accuracy limit of this precision reached" in said
    assert [float(number) <= 4e-16 for number in re.findall(r"backward error ([\d.e-]+)$", said, re.M)] == [True, True]


def test_units_leave_the_bits_alone(tmp_path):
    assert len(re.findall(r"True$", run("units", tmp_path), re.MULTILINE)) == 5


def test_wrong_interval_is_named(tmp_path):
    assert "The upper end" in run("chebyshev_bounds", tmp_path)
