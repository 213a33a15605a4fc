"""SciPy's own tests of its iterative solvers, run on ours.

The module of tests that the installed SciPy carries takes the solvers from ``scipy.sparse.linalg._isolve``. A plugin
puts an adapter in the place of ``cg`` there before the tests are collected, so every case written for SciPy's cg is
run on Resolvent's. Nothing is copied.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

PLUGIN = '''
"""Puts resolvent.cg where SciPy's tests look for cg."""

import warnings

import numpy as np
import resolvent as rv
import scipy.sparse.linalg._isolve as isolve


def cg(A, b, x0=None, *, rtol=1e-5, atol=0.0, maxiter=None, M=None, callback=None):
    """SciPy's signature and (x, info)."""
    if isinstance(x0, str) and x0 == "Mb":  # SciPy's word for M b
        x0 = np.array(b) if M is None else M @ b
    watch = None if callback is None else lambda at: callback(at.x) and None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        solution = rv.cg(A, b, x0=x0, M=M, rtol=rtol, atol=atol, maxiter=maxiter, callback=watch)
    if solution.converged:
        return solution.x, 0
    return solution.x, solution.iterations if solution.status is rv.Status.MAX_ITERATIONS else -1


isolve.cg = cg
'''

# Why a case cannot pass: a part of its name, and the reason. Each must still be collected, and still fail.
EXPECTED_TO_FAIL = {
    "test_atol": "it passes rtol and atol of 1 to infinity, which Resolvent refuses: any x would do",
    "test_zero_rhs": "it passes rtol of 1 to 100, which Resolvent refuses",
}


@pytest.mark.slow
def test_every_case_for_cg_passes(tmp_path):
    if importlib.util.find_spec("scipy.sparse.linalg._isolve.tests") is None:
        pytest.skip("this SciPy was installed without its tests")
    (tmp_path / "put_resolvent_in.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text(
        textwrap.dedent(
            """
            [pytest]
            markers =
                fail_slow: of SciPy
                thread_unsafe: of SciPy
                parallel_threads: of SciPy
                iterations: of SciPy
                xslow: of SciPy
                xfail_on_32bit: of SciPy
            """
        )
    )
    # The package may be importable through a path entry of this process only.
    import resolvent

    root = str(pathlib.Path(resolvent.__file__).parent.parent)
    paths = [str(tmp_path), *([root] if root in sys.path else []), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "put_resolvent_in", "-p", "no:cacheprovider", "-p", "no:randomly"]
        + ["-c", str(tmp_path / "pytest.ini"), "-v", "--no-header", "--tb=short", "-k", "cg and not bicg and not cgs"]
        + ["--pyargs", "scipy.sparse.linalg._isolve.tests.test_iterative"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        check=False,
    )
    outcomes = dict(re.findall(r"::(\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", ran.stdout))
    passed = [name for name, outcome in outcomes.items() if outcome == "PASSED"]
    failed = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    assert len(passed) >= 30, ran.stdout[-3000:] + ran.stderr[-2000:]
    unexpected = [name for name in failed if not any(part in name for part in EXPECTED_TO_FAIL)]
    assert not unexpected, ran.stdout[-6000:]
    for part, why in EXPECTED_TO_FAIL.items():
        assert any(part in name for name in failed), f"{part} passes now; it was expected to fail because {why}"


@pytest.mark.slow
def test_the_adapter_is_what_is_tested(tmp_path):
    """A solver that always answers with zeros fails that suite: the plugin reaches the tests."""
    if importlib.util.find_spec("scipy.sparse.linalg._isolve.tests") is None:
        pytest.skip("this SciPy was installed without its tests")
    wrong = "import numpy as np\nimport scipy.sparse.linalg._isolve as isolve\n"
    wrong += "def cg(A, b, x0=None, **options):\n    return np.zeros(np.shape(b)), 0\n"
    (tmp_path / "put_zeros_in.py").write_text(wrong + "isolve.cg = cg\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "put_zeros_in", "-p", "no:cacheprovider", "-q", "--tb=no"]
        + ["-c", str(tmp_path / "pytest.ini"), "-k", "cg and not bicg and not cgs and convergence", "--no-header"]
        + ["--pyargs", "scipy.sparse.linalg._isolve.tests.test_iterative"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        check=False,
    )
    assert re.search(r"\d+ failed", ran.stdout), ran.stdout[-2000:] + ran.stderr[-2000:]
