"""The script of GPU figures as far as a host goes: every measurement once, with a timer that only counts."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

# Solves are cut short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scripts():
    """The driver and the measurements, as modules."""
    found = []
    before = list(sys.path)
    try:
        for name in ("gpu_figures", "gpu_measurements"):
            spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found.append(module)
    finally:
        sys.path[:] = before
    return found


class Counting:
    """Calls everything with each of its inputs; the first is said to take a millisecond, the next two, and so on."""

    def __init__(self):
        self.asked = []

    def __call__(self, calls):
        self.asked.append(list(calls))
        for variants in calls.values():
            for call in variants:
                call()
        return {name: float(place + 1) for place, name in enumerate(calls)}


SIZES = {
    "cg": {"m": 4, "few": 1, "many": 3},
    "chebyshev": {"m": 4, "few": 1, "many": 3},
    "dense": {"count": 6, "n": 5},
    "tridiagonal": {"count": 6, "n": 5},
    "gka": {"shape": (1, 3, 1, 4), "dtype": "float32"},
    "newton-schulz": {"n": 12},
    "decode": {"batch": 2, "heads": 2, "dimension": 8},
}


@pytest.mark.parametrize("name", SIZES)
def test_every_measurement_runs(scripts, name):
    _, measurements = scripts
    assert set(SIZES) == set(measurements.MEASUREMENTS)
    timer = Counting()
    rows = list(measurements.MEASUREMENTS[name][0](measurements.Place("cpu"), timer, **SIZES[name]))
    assert rows
    assert timer.asked
    assert any(row.least is not None for row in rows) or name == "newton-schulz"
    assert all(row.value is None or np.isfinite(row.value) for row in rows)
    assert all(row.value is not None or "no peer" in row.note for row in rows)


def test_a_peer_that_fails_is_a_row(scripts, monkeypatch):
    """The others are compared with."""
    _, measurements = scripts

    def broken(q, k, v, g):
        raise RuntimeError("no kernel image")

    def other(q, k, v, g):
        return q * k * v * g[..., None]

    monkeypatch.setattr(measurements, "gka_peers", lambda *given: {"broken": broken, "other": other})
    rows = list(measurements.gated_kalmanet(measurements.Place("cpu"), Counting(), **SIZES["gka"]))
    assert [row.note for row in rows if row.value is None] == ["RuntimeError: no kernel image"] * 2
    assert [row.value for row in rows if "as fast as other" in row.what] == [2.0] * 4  # of times 1 and 2


def test_numbers_follow_from_the_times(scripts):
    """A row of CSR moves 7 values and columns, a start, and ten passes; boundary rows of a small grid have fewer."""
    _, measurements = scripts
    place, m, n = measurements.Place("cpu"), 6, 216
    A = measurements.poisson(place, m)
    assert A.nnz == 7 * n - 6 * m**2
    assert np.allclose(np.linalg.eigvalsh(A.toarray())[[0, -1]], 12 * np.sin(np.pi / 14 * np.array([1, 6])) ** 2)
    ratio, part = measurements.cg_on_csr(place, Counting(), m=m, few=1, many=3)
    assert ratio.value == 1.0  # runs take 1, 2, 3, 4: an iteration 1/2, for both
    assert part.value == pytest.approx((12 * A.nnz + 4 * (n + 1) + 80 * n) / 0.5 / (16 * n))


def test_systems_have_the_condition_number_they_should(scripts):
    _, measurements = scripts
    A, _ = measurements.spd_systems(measurements.Place("cpu"), 4, 6, 100.0)
    assert torch.allclose(torch.linalg.cond(A), torch.tensor(100.0), rtol=1e-3)


def test_the_table_says_what_was_reached(scripts, tmp_path):
    figures, measurements = scripts
    rows = [
        measurements.Row("fast", 3.456, "x", 3.0),
        measurements.Row("slow", 0.5, "of 1", 0.75, "a | b"),
        measurements.Row("plain", 2.0, "ms"),
        measurements.Row("broken", None, "", None, "RuntimeError: no"),
    ]
    assert [row.verdict for row in rows] == ["reached", "missed", "", "failed"]
    where = figures.Setting("NVIDIA H200", "2026-01-02", "abc", {"torch": "2"}, "3 passed")
    page = figures.written(tmp_path, where, rows)
    assert page.name == "gpu-nvidia-h200-2026-01-02.md"
    text = page.read_text()
    assert "NVIDIA H200, 2026-01-02, commit abc; torch 2." in text
    assert "Tests marked `gpu`: 3 passed" in text
    assert "| fast | 3.46 x | 3 x | reached |  |" in text
    assert "| slow | 0.5 of 1 | 0.75 of 1 | missed | a / b |" in text
    assert "| broken |  |  | failed | RuntimeError: no |" in text
    kept = json.loads((tmp_path / "gpu-nvidia-h200-2026-01-02.json").read_text())
    assert kept == {"setting": asdict(where), "rows": [asdict(row) for row in rows]}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('print(\'{"what": "a", "value": 1.0, "unit": "x"}\')', [("a", 1.0, "")]),
        (
            'print(\'{"what": "a", "value": 1.0, "unit": "x"}\'); raise ValueError(\'gone\')',
            [("a", 1.0, ""), ("cg", None, "ValueError: gone")],
        ),
        ("import time; time.sleep(60)", [("cg", None, "took longer than 1 s")]),
    ],
    ids=["done", "failed half-way", "endless"],
)
def test_a_measurement_that_fails_is_a_row(scripts, monkeypatch, tmp_path, code, found):
    figures, _ = scripts
    script = tmp_path / "script.py"
    script.write_text(code)
    monkeypatch.setattr(figures, "__file__", str(script))
    assert [(row.what, row.value, row.note) for row in figures.measured("cg", 1.0 if "sleep" in code else 60)] == found


def test_without_a_device_it_says_so(scripts, monkeypatch, capsys, tmp_path):
    figures, _ = scripts
    monkeypatch.setattr(figures, "has_device", lambda: False)
    assert figures.main(["--out", str(tmp_path)]) == figures.NO_DEVICE == 2
    assert "No CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_kept_when_time_runs_out(scripts, monkeypatch, tmp_path, capsys):
    """The first measurement has its row, the second none, and both files are there."""
    figures, measurements = scripts
    clock = iter([0.0, 0.0, 298.0])
    monkeypatch.setattr(figures.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(figures, "has_device", lambda: True)
    monkeypatch.setattr(figures, "setting", lambda tests: figures.Setting("D", "2026-01-02", "abc", {}, tests))
    monkeypatch.setattr(figures, "measured", lambda name, limit: [measurements.Row(name, limit, "s")])
    log = tmp_path / "log"
    log.write_text("...\n3 passed\n")
    assert figures.main(["--only", "cg", "dense", "--out", str(tmp_path), "--tests", str(log)]) == 1
    printed = capsys.readouterr().out
    assert "| cg | 60 s |" in printed
    assert "| dense |  |  | failed | no time was left for it |" in printed
    assert "3 passed" in printed


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_the_script_ends_with_two_where_there_is_no_device():
    command = ["bash", ROOT / "benchmarks" / "gpu_check.sh"]
    run = subprocess.run(
        command, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "No CUDA device" in run.stderr
