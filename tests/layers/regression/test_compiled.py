"""The compiled form by itself."""

import subprocess
import sys

# What else a process has imported must not matter: the form once compiled only where a solve had made its recurrences
# known to Numba.
ALONE = """
from itertools import islice
import numba
from resolvent.layers.regression import compiled
from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients
coefficients = compiled.coefficients

@numba.njit
def second():
    for k, (beta, gamma) in enumerate(coefficients(1.0, 3.0)):
        if k == 1:
            return beta, gamma

assert second() == list(islice(chebyshev_coefficients(1.0, 3.0), 2))[1]
"""


def test_coefficients_compile_in_a_process_that_has_solved_nothing():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
