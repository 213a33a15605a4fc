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
    "drift": ["--dimension", "32", "--tokens", "800", "--runs", "6"],
    "recall": ["--steps", "6", "--pairs", "4"],
    "state_tracking": ["--tasks", "parity", "S3", "--memories", "DeltaNet, beta to 2", "--steps", "2", "--seeds", "2"],
    "untrained_recall": ["--trials", "4", "--pairs", "32", "96"],
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


def test_memories_are_trained_and_drawn(tmp_path):
    said = run("recall", tmp_path, "--csv", "table.csv", "--figure", "figure.png")
    rows = table(tmp_path / "table.csv")
    assert [row["memory"] for row in rows] == [
        "softmax attention", "linear attention", "without regression", "DeltaNet", "Gated KalmaNet",
    ]  # fmt: skip
    assert all(row["memory"] in said for row in rows)
    assert all(0 < float(row["4 pairs"]) < 1 for row in rows)  # six steps teach next to nothing
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 150_000


def test_untrained_memories_recall_what_they_should(tmp_path):
    said = run("untrained_recall", tmp_path, "--figure", "figure.png")
    rows = [re.split(r"  +", line.strip()) for line in said.splitlines() if "±" in line]
    found = {}
    for at, (name, *cells) in enumerate(rows):
        found[name, at >= len(rows) // 2] = [tuple(map(float, cell.split("±"))) for cell in cells]
    wanted = {  # by 32 and by 96 pairs, keys alone and keys that share half; in each cell four times the sampling error
        ("linear attention", False): (1.0, 0.99),
        ("DeltaNet, beta = 1", False): (1.0, 0.665),
        ("Gated KalmaNet, a = 0.02", False): (1.0, 1.0),
        ("linear attention", True): (0.266, 0.042),
        ("DeltaNet, beta = 1", True): (0.453, 0.184),
        ("Gated KalmaNet, a = 0.02", True): (1.0, 0.999),
        ("Gated KalmaNet, a = 0.05", True): (1.0, 0.974),
        ("MesaNet, ridge 1", True): (1.0, 0.999),
    }
    for key, values in wanted.items():
        for (mean, error), value in zip(found[key], values, strict=True):
            assert abs(mean - value) <= 4 * error + 0.01, (key, mean, error, value)
    assert (tmp_path / "figure.png").stat().st_size < 150_000


def test_delta_rule_errs_in_a_drift_as_its_closed_form_says(tmp_path):
    said = run("drift", tmp_path, "--figure", "figure.png")
    rows = [line.split() for line in said.splitlines() if re.match(r" +[\d.]+ +[\d.]+ ", line)]
    assert len(rows) == 12
    published = {("0.01", "0"): 1.429, ("0.1", "0.1"): 1.105, ("1", "0"): 1.128}  # for 32 dimensions
    for drift, noise, _, exact, simulated, ratio in rows:
        mean, error = map(float, simulated.split("±"))
        assert abs(mean - float(exact)) <= 5 * error
        value, error = map(float, ratio.split("±"))
        assert abs(value - published.get((drift, noise), value)) <= 4 * error
        assert value > 1 - 3 * error
    assert (tmp_path / "figure.png").stat().st_size < 150_000


def test_states_are_tracked_task_by_task(tmp_path):
    said = run("state_tracking", tmp_path, "--csv", "table.csv")
    rows = table(tmp_path / "table.csv")
    assert [(row["task"], row["seed"]) for row in rows] == [(task, seed) for task in ("parity", "S3") for seed in "01"]
    assert "parity: chance 0.500, without order 1.000" in said
    assert "S3: chance 0.167, without order 0.333" in said


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
