"""The first solve of a new process: with nothing on disk, and with every kernel there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOLVE = """
import time
import numpy as np
import resolvent as rv

problem = rv.gallery.poisson(({points}, {points}))
A = problem.A.tocsr() if hasattr(problem.A, "tocsr") else problem.A
b = np.ones(A.shape[0])
began = time.perf_counter()
rv.solve(A, b, maxiter={maxiter})
print(time.perf_counter() - began)
"""
# What any process pays that calls one kernel from disk.
ONE_KERNEL = """
import numpy as np, scipy.sparse.linalg
from numba import njit

@njit(cache=True)
def half(x):
    return x / 2

half(1.0)
"""
RESOLVENT = """
import numpy as np, scipy.sparse as sparse
import resolvent as rv

A = sparse.diags_array([-np.ones(9999), np.full(10000, 4.0), -np.ones(9999)], offsets=(-1, 0, 1), format="csr")
rv.solve(A, np.ones(10000))
"""


def run(code: str, cache: str) -> str:
    """What a new interpreter prints that keeps its kernels in this folder."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


class Cold:
    """Nothing is on disk: nearly all of it is compilation."""

    params = ([100, 1000],)
    param_names = ("points",)
    timeout = 300

    def track_first_solve(self, points: int) -> float:
        """Seconds of ``rv.solve`` with a five-point CSR matrix of points^2 unknowns."""
        with tempfile.TemporaryDirectory() as cache:
            return float(run(SOLVE.format(points=points, maxiter="None"), cache))

    track_first_solve.unit = "seconds"  # type: ignore[attr-defined]


class Warm:
    """Everything is on disk: what is left is imports and reading."""

    number, repeat, rounds = 1, (3, 9, 20.0), 1

    def setup(self) -> None:
        """Kernels on disk, and scripts, since a function that Numba is to keep has to lie in a file."""
        self.folder = tempfile.TemporaryDirectory()
        self.scripts = {}
        for name, code in (("one", ONE_KERNEL), ("resolvent", RESOLVENT)):
            self.scripts[name] = Path(self.folder.name) / f"call_{name}.py"
            self.scripts[name].write_text(code)
            self._start(name)

    def teardown(self) -> None:
        """Leave nothing."""
        self.folder.cleanup()

    def _start(self, name: str) -> None:
        subprocess.run(
            [sys.executable, "-W", "ignore", str(self.scripts[name])],
            env=os.environ | {"NUMBA_CACHE_DIR": self.folder.name},
            check=True,
        )

    def time_one_kernel(self) -> None:
        """A process that imports NumPy, SciPy and Numba and calls one kernel."""
        self._start("one")

    def time_first_solve(self) -> None:
        """A process that solves a system of 10^4 unknowns."""
        self._start("resolvent")
