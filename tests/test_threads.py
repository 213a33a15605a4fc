"""Nothing here changes how many threads torch and Numba work with, whichever is used first."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

# Each entry point runs in a process of its own, since what starts threads does so once; forking spares the imports.
EACH = """
import os, sys, warnings
import numba, numpy as np, scipy.sparse as sp, torch

warnings.simplefilter("ignore")  # three iterations are few
before = 1
torch.set_num_threads(before)
import resolvent as rv
from resolvent.layers import functional

def tridiagonal(n):
    return sp.diags_array([-np.ones(n - 1), np.full(n, 4.0), -np.ones(n - 1)], offsets=(-1, 0, 1), format="csr")

def solved(n, method="auto", **options):
    parameters = {"chebyshev": {"interval": (1.0, 7.0)}, "richardson": {"omega": 0.25}}.get(method, {})
    rv.solve(tridiagonal(n), np.ones(n), method=method, maxiter=3, **parameters, **options)

def regression(tokens, **options):
    q, k, v = torch.ones(3, 1, tokens, 4, 64).unbind(0)
    with torch.no_grad():
        functional.gated_kalmanet(q, k, v, **options)

def rounded():
    x = np.linspace(0, 1, 300_000, dtype=np.float32)
    for form in ("bf16", "fp8_e4m3fn"):
        rv.precision.round(x, form)
        rv.precision.round(torch.from_numpy(x), form)

def differentiated():
    A = torch.eye(5, dtype=torch.float64).mul(2).requires_grad_()
    rv.layers.solve(A, torch.ones(5, dtype=torch.float64), method="cg").sum().backward()

large = 270_000  # beyond it kernels run in parallel
entries = {"nothing": lambda: None, "rounding": rounded, "layers.solve": differentiated}
entries["few rows"] = lambda: [solved(50, m, backend=b) for m in ("auto", *rv.METHODS) for b in ("numpy", "numba")]
entries |= {f"{m}, many rows": lambda m=m: solved(large, m) for m in ("auto", *rv.METHODS)}
entries["refinement, many rows"] = lambda: rv.refine(tridiagonal(large), np.ones(large), maxiter=2)
entries["one token"] = lambda: regression(1)
entries["compiled regression"] = lambda: regression(64, form="compiled")
entries["chunked regression"] = lambda: regression(64, form="chunk")

def check(name, entry):
    entry()
    if torch.get_num_threads() != before:
        print(f"{name}: torch works with {torch.get_num_threads()} threads, before with {before}")
    numba.set_num_threads(1)
    torch.set_num_threads(before)
    entry()
    if (numba.get_num_threads(), torch.get_num_threads()) != (1, before):
        print(f"{name}: Numba or torch works with other threads than one after Numba was told to work with one")

for name, entry in entries.items():
    child = os.fork()
    if not child:
        code = 1
        try:
            check(name, entry)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        print(f"{name}: failed")
"""

LATER = """
import numpy as np, scipy.sparse as sp
import resolvent as rv
n = 270_000
A = sp.diags_array([-np.ones(n - 1), np.full(n, 4.0), -np.ones(n - 1)], offsets=(-1, 0, 1), format="csr")
rv.cg(A, np.ones(n))
import torch
print(torch.get_num_threads())
"""

TOGETHER = """
import threading
import numpy as np, scipy.sparse as sp, torch
import resolvent as rv
n = 270_000
A = sp.diags_array([-np.ones(n - 1), np.full(n, 4.0), -np.ones(n - 1)], offsets=(-1, 0, 1), format="csr")
torch.set_num_threads(1)
meet, found = threading.Barrier(3), []

def work():
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    meet.wait()
    x = rv.cg(A, np.ones(n), rtol=1e-8)
    found.append((torch.get_num_threads(), x.converged))

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
work()
for thread in threads:
    thread.join()
print(found)
"""


def printed(code, **environment):
    """What a fresh interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process for each entry point")
def test_every_entry_point_leaves_the_threads_of_torch_and_numba():
    assert printed(EACH) == ""


@pytest.mark.slow
def test_torch_loaded_later_finds_what_the_environment_says():
    assert printed(LATER, OMP_NUM_THREADS="1") == "1"


def test_parallel_solves_in_several_threads_leave_each_as_it_was():
    assert printed(TOGETHER) == str([(1, True)] * 3)


AT_ONCE = """
import threading
import numpy as np
import resolvent as rv

A = np.diag(np.arange(1.0, 9)) + 0.1
b = np.random.default_rng(0).standard_normal((4, 8, 10_000))
wanted = [rv.cg(A, right, rtol=1e-9).x for right in b]
found = [None] * 4

def work(k):
    for _ in range(10):
        found[k] = rv.cg(A, b[k], rtol=1e-9).x

threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(all(np.array_equal(*pair) for pair in zip(found, wanted)))
"""


@pytest.mark.slow
def test_callers_at_once_get_the_bits_of_one():
    """Threads that share kernels work for one caller at a time; the others meanwhile do without."""
    assert printed(AT_ONCE, NUMBA_NUM_THREADS="2") == "True"


INTERRUPTED = """
import signal, threading, warnings
import numpy as np
import resolvent as rv

warnings.simplefilter("ignore")
problem = rv.gallery.poisson((520, 520))
wanted = rv.cg(problem.A, problem.b, rtol=0, maxiter=40).x
main = threading.main_thread().ident
killer = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT))
killer.start()
try:
    while killer.is_alive():
        rv.cg(problem.A, problem.b, rtol=0, maxiter=40)
except KeyboardInterrupt:
    pass
print(np.array_equal(rv.cg(problem.A, problem.b, rtol=0, maxiter=40).x, wanted))
"""


@pytest.mark.slow
def test_threads_work_on_after_an_interruption():
    assert printed(INTERRUPTED, NUMBA_NUM_THREADS="2") == "True"


FAILING = """
import numpy as np
import resolvent as rv
from resolvent.backends.compiled import vectors

try:
    vectors.dot.parallel(np.ones(300_000), "not a vector")
except Exception as error:
    print(type(error).__name__)
x = np.ones(300_000)
print(vectors.dot.parallel(x, x)[0])
"""


@pytest.mark.slow
def test_a_failure_is_raised_where_the_kernel_was_called():
    assert printed(FAILING, NUMBA_NUM_THREADS="2").split() == ["TypingError", "300000.0"]
