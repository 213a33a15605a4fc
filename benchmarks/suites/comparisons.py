"""Each figure as one function, for the asv suites and for figures.py alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as scipy_linalg

import resolvent as rv
from resolvent.operators.ordering import Ordering
from resolvent.solvers.driver.iterate import iterate
from resolvent.solvers.driver.stopping import Options
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.methods import method_named

from .measure import Loop, Times, call_times, copy_call, iteration_times, peak_vectors, ratio
from .problems import System, definite_stack, in_single, poisson, stretched, tridiagonal_stack

__all__ = [
    "cg_vectors",
    "emulated_iterations",
    "iterations_against",
    "many_systems",
    "refinements",
    "roofline",
    "small_calls",
    "sweeps",
    "threads",
    "whole_calls",
]


def checked(made: int, wanted: int) -> None:
    if made != wanted:
        raise RuntimeError(f"{made} iterations were made where {wanted} were wanted: the time of one would be wrong")


def our_loop(method: str, system: System, few: int, many: int, precision: Any = None, **parameters: Any) -> Loop:
    """A method of Resolvent for exactly so many iterations, through the driver, on a system checked beforehand."""
    if method == "chebyshev":
        parameters["interval"] = system.spectrum
    ready, chosen = LinearSystem(system.A, system.b, precision=precision), method_named(method, parameters)

    def run(count: int) -> None:
        checked(iterate(ready, chosen, Options(rtol=0.0, maxiter=count)).iterations, count)

    return Loop(run, few, many)


def scipy_loop(system: System, few: int, many: int) -> Loop:
    """scipy.sparse.linalg.cg for exactly so many iterations."""

    def run(count: int) -> None:
        checked(scipy_linalg.cg(system.csr, system.b, rtol=1e-300, maxiter=count)[1], count)

    return Loop(run, few, many)


def pyamg_loop(system: System, few: int, many: int) -> Loop:
    """pyamg.krylov.cg for exactly so many iterations."""
    from pyamg.krylov import cg

    def run(count: int) -> None:
        checked(cg(system.csr, system.b, tol=1e-300, maxiter=count)[1], count)

    return Loop(run, few, many)


# Iterations of a difference at a million unknowns: about a fifth of a second, several times the set-up and certificate.
STEPS = {
    "cg": (96, 256),
    "ssor_cg": (32, 32),
    "chebyshev": (128, 384),
    "gauss_seidel": (96, 96),
    "scipy": (24, 24),
    "pyamg": (24, 24),
}


def counts(n: int, method: str, storage: str = "csr") -> tuple[int, int]:
    """Two iteration counts, far from convergence, whose difference takes a measurable time.

    They are multiples of 16, after which some methods look at the residual.
    """
    if n <= 1000:
        return 16, 2016
    if n <= 100_000:
        return 32, 128
    steps = STEPS[method][storage == "stencil"]
    return 16, 16 + max(16, steps * 1_000_000 // n // 16 * 16)


def iterations_against(
    n: int, storage: str = "csr", which: tuple[str, ...] = ("scipy", "cg"), seconds: float = 2.0
) -> dict[str, Times]:
    """Seconds an iteration of the solvers named, in turns, at n unknowns.

    ``copy`` is a copy of n values, ``stream144`` one that moves 144 bytes a row in all. Others than
    Resolvent are given the matrix as CSR, also where Resolvent is given the stencil.
    """
    system = stretched(n) if n <= 1000 else poisson(n, storage)
    loops = {}
    for name in which:
        if name == "copy":
            copy = copy_call(n)
            loops[name] = Loop(_repeated(copy), 0, max(1, 32_000_000 // n))
        elif name.startswith("stream"):
            loops[name] = Loop(_repeated(copy_call(n * int(name[6:]) // 16)), 0, 1)
        elif name == "scipy":
            loops[name] = scipy_loop(system, *counts(n, name))
        elif name == "pyamg":
            loops[name] = pyamg_loop(system, *counts(n, name))
        else:
            loops[name] = our_loop(name, system, *counts(n, name, storage))
    return iteration_times(loops, seconds)


def emulated_iterations(
    n: int, storage: str = "csr", which: tuple[Any, ...] = ("bf16", "fp16"), method: str = "cg", seconds: float = 2.0
) -> dict[Any, Times]:
    """Seconds an iteration in emulated formats and, as ``None``, in float32 without emulation, in turns.

    The precisions are names of formats, which have the policy ``storage``, or a ``Precision``. The system is given in
    float32.
    """
    system = in_single(poisson(n, storage))
    loops = {given: our_loop(method, system, *counts(n, method, storage), precision=given) for given in (None, *which)}
    return iteration_times(loops, seconds)


def refinements(n: int, formats: tuple[str, ...] = ("bf16", "tf32", "fp32"), seconds: float = 2.0) -> dict[Any, Times]:
    """Whole calls of refine to rtol = 1e-12 and, as ``None``, of cg in float64 to the same.

    The low precisions are emulated, save for fp32: they are slower here than on hardware that has them.
    """
    system = poisson(n)

    def solver(given: str | None) -> Callable[[], Any]:
        if given is None:
            return lambda: rv.cg(system.A, system.b, rtol=1e-12).raise_for_status()
        return lambda: rv.refine(system.A, system.b, inner_precision=given, rtol=1e-12).raise_for_status()

    return call_times({given: solver(given) for given in (None, *formats)}, seconds)


def _repeated(call: Callable[[], Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


# Least bytes an iteration moves a row: matrix and vectors read and written once where the method needs them anew.
BYTES = {
    ("cg", "csr"): 144,  # the CSR arrays 64, and 10 passes over vectors
    ("cg", "irregular"): 144,
    ("cg", "stencil"): 80,
    ("chebyshev", "csr"): 96,
    ("chebyshev", "irregular"): 96,
    ("chebyshev", "stencil"): 32,
}


def roofline(
    n: int, storage: str, method: str = "cg", seconds: float = 2.0
) -> tuple[tuple[float, float], tuple[float, float], dict[str, Times]]:
    """The bandwidth that an iteration's least bytes in its time stand for, as a part of a copy's.

    First of a copy of n values, some of which may stay in a large cache; then of a copy that moves as many bytes as the
    iteration. Each by the best times and as the median of the rounds; last, the times behind them. The bytes are those
    of CSR also where Resolvent found diagonals to keep instead, so that the part may exceed one.
    """
    least = BYTES[method, storage]
    stream = f"stream{least}"
    times = iterations_against(n, storage, (method, "copy", stream), seconds)
    best, median = ratio(times["copy"], times[method])
    return (best * least / 16, median * least / 16), ratio(times[stream], times[method]), times


def whole_calls(n: int, seconds: float = 2.0) -> dict[str, Times]:
    """Warm calls of cg to rtol = 1e-8 for a random right-hand side, Resolvent's and SciPy's."""
    system = poisson(n)

    def ours() -> None:
        assert rv.cg(system.csr, system.b, rtol=1e-8).converged

    def theirs() -> None:
        assert scipy_linalg.cg(system.csr, system.b, rtol=1e-8)[1] == 0

    return call_times({"cg": ours, "scipy": theirs}, seconds)


def small_calls(which: str) -> dict[str, Callable[[], Any]]:
    """Calls of cg to rtol = 1e-8 for one small system, Resolvent's and SciPy's.

    "poisson": 100 unknowns in CSR; "prepared": the same, by a prepared solver; "dense": a full matrix of size 10.
    """
    if which == "dense":
        A: Any = definite_stack(1, 10)[0]
        b = np.random.default_rng(7).standard_normal(10)
    else:
        system = poisson(100)
        A, b = system.csr, system.b
    solver = rv.prepare(A, method="cg")

    def ours() -> None:
        assert (solver.solve(b, rtol=1e-8) if which == "prepared" else rv.cg(A, b, rtol=1e-8)).converged

    def theirs() -> None:
        assert scipy_linalg.cg(A, b, rtol=1e-8)[1] == 0

    ours()  # the first of a kind is left to the driver, the second is compiled for
    ours()
    return {"cg": ours, "scipy": theirs}


@dataclass(frozen=True)
class Many:
    """A batch, and what the same costs elsewhere.

    Attributes
    ----------
    solve : callable
        Solves all by Resolvent's cg.
    sample : callable
        Solves so many of them by SciPy's, one after the other.
    count, sampled : int
    """

    solve: Callable[[], Any]
    sample: Callable[[], Any]
    count: int
    sampled: int


def many_systems(which: str) -> Many:
    """A batch to rtol = 1e-6.

    "dense": 10 000 positive definite matrices of size 32 with condition up to 1e3; "tridiagonal": 100 000 of size 64,
    on one pattern.
    """
    rng = np.random.default_rng(7)
    if which == "dense":
        A: Any = definite_stack(10_000, 32)
        sampled = 200
        some = list(A[:sampled])
    else:
        indptr, indices, values = tridiagonal_stack(100_000, 64)
        A = rv.as_operator((indptr, indices, values), (64, 64))
        sampled = 2000
        some = [sparse.csr_matrix((own, indices, indptr), shape=(64, 64)) for own in values[:sampled]]
    b = rng.standard_normal(A.shape[:-1])

    def solve() -> Any:
        return rv.cg(A, b, rtol=1e-6).raise_for_status()

    def sample() -> None:
        for one, right in zip(some, b, strict=False):
            assert scipy_linalg.cg(one, right, rtol=1e-6)[1] == 0

    return Many(solve, sample, len(b), sampled)


SWEEPS = ("pyamg", "natural", "natural_method", "multicolor", "multicolor_method")


def sweeps(n: int, which: tuple[str, ...] = SWEEPS, seconds: float = 2.0) -> dict[str, Times]:
    """Forward Gauss-Seidel sweeps: PyAMG's compiled one, Resolvent's in natural order and by colours.

    ``natural`` and ``multicolor`` are the sweep alone, as PyAMG's is; those with ``_method`` are an iteration of
    ``rv.gauss_seidel``, the look at the residual after every 16 of them included.
    """
    from pyamg.relaxation.relaxation import gauss_seidel

    given = poisson(n)
    system, x = LinearSystem(given.A, given.b), np.zeros(n)
    system.prepare()
    loops = {}
    for name in which:
        order, _, method = name.partition("_")
        if name == "pyamg":
            loops[name] = Loop(lambda count: gauss_seidel(given.csr, x, given.b, iterations=count), 0, 8)
        elif method:
            loops[name] = our_loop("gauss_seidel", given, *counts(n, "gauss_seidel"), order=order)
        else:
            loops[name] = Loop(_sweeper(system, Ordering(system.operator, order)), 0, 8)
    return iteration_times(loops, seconds)


def _sweeper(system: LinearSystem, ordering: Ordering) -> Callable[[int], None]:
    x = system.vector()

    def run(count: int) -> None:
        for _ in range(count):
            system.backend.sweep(ordering, x, system.rhs, 1.0, False)

    return run


def threads(n: int, storage: str = "csr", which: tuple[int, ...] = (1, 2), seconds: float = 2.0) -> dict[int, Times]:
    """Seconds an iteration of SSOR-CG in natural order, in turns with so many threads."""
    system = poisson(n, storage)
    few, many = counts(n, "ssor_cg", storage)
    solver = our_loop("ssor_cg", system, few, many, omega=1.9)

    def on(number: int) -> Callable[[int], None]:
        def run(count: int) -> None:
            before = numba.get_num_threads()
            numba.set_num_threads(number)
            try:
                solver.run(count)
            finally:
                numba.set_num_threads(before)

        return run

    return iteration_times({number: Loop(on(number), few, many) for number in which}, seconds)


def cg_vectors(n: int, storage: str) -> float:
    """Peak of what rv.cg allocates, in vectors of length n: the larger of a solve that converges and one cut short."""
    system = poisson(n, storage)
    enough = peak_vectors(lambda: rv.cg(system.A, system.b, rtol=1e-4), n)
    return max(enough, peak_vectors(lambda: rv.cg(system.A, system.b, rtol=0.0, maxiter=50), n))
