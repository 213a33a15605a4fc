"""Kernels compiled ahead of time, and what is said to a person who waits for them."""

import io
import os
import pathlib
import re
import subprocess
import sys

import pytest
from rich.console import Console

import resolvent as rv
from resolvent.compilation import tell
from resolvent.solvers.driver import progress

SOLVE = """
import numpy as np, resolvent as rv
from resolvent.compilation import told

compiled = []
with told(compiled.append):
    rv.jacobi(rv.Diagonals(np.array([[-1.0] * 5000, [3.0] * 5000, [-1.0] * 5000]), [-1, 0, 1]), np.ones(5000))
print(compiled)
"""


def printed(arguments, **environment):
    root = str(pathlib.Path(rv.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root} | environment,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.strip()


def test_the_first_solve_after_the_command_compiles_nothing(tmp_path):
    command = ["-m", "resolvent", "warm", "--storage", "diagonals", "--method", "jacobi"]
    assert re.fullmatch(r"\d+ kernels? compiled in \d+\.\d s", printed(command, NUMBA_CACHE_DIR=str(tmp_path)))
    assert printed(["-c", SOLVE], NUMBA_CACHE_DIR=str(tmp_path)) == "[]"


@pytest.mark.parametrize("given", [{"storages": "coo"}, {"dtypes": ["float64", "float16"]}, {"methods": ["gmress"]}])
def test_names_that_there_are_not(given):
    ((argument, names),) = given.items()
    wrong = names if isinstance(names, str) else names[-1]
    with pytest.raises(rv.InputError, match=f"{argument}: found '{wrong}'; wanted one of"):
        rv.warm(**given)


def test_a_person_who_is_watching_is_told_of_compilation(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(progress, "watched", lambda: Console(file=shown, force_terminal=True, width=100))
    tell("cg_loop")
    tell(None)
    assert "Compiling cg_loop, once" in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[2K")  # and the line is gone


def test_nobody_else_is(capfd):
    tell("cg_loop")
    tell(None)
    assert capfd.readouterr() == ("", "")


def test_a_live_line_says_so_itself(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(progress, "watched", lambda: Console(file=shown, force_terminal=True, width=200))
    line = progress.LiveLine("cg")
    tell("dot")
    assert line.display.tasks[0].fields["text"].startswith("Compiling dot, once")
    tell(None)
    line.close()
