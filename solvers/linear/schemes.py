"""What the compiled solves of small systems take of each method."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..chebyshev.chebyshev import Chebyshev, ChebyshevState
    from ..krylov.bicgstab import BiCGSTAB
    from ..krylov.cg import CG
    from ..krylov.gmres import GMRES
    from ..relaxation.jacobi import Jacobi
    from ..relaxation.richardson import Richardson, RichardsonState
    from ..relaxation.sor import SOR, SORState

__all__ = ["SMALL", "KrylovKernel", "kernels", "krylov_kernel"]

MOST_VECTORS = 512  # of a basis: those of a small system are a small part of the memory


@cache
def kernels() -> Any:
    """What the kernels are called by, imported when the first small system is solved: that imports Numba."""
    from ...backends.compiled import small, small_batch, small_bicgstab, small_cg, small_gmres, small_stationary

    return SimpleNamespace(
        Limits=small.Limits,
        solve_all=small_batch.solve_all,
        **{name: getattr(small_stationary, name) for name in ("Momentum", "Sweeps", "stationary_solve")},
        **{name: getattr(small_cg, name) for name in ("ConjugateGradients", "cg_solve")},
        **{name: getattr(small_bicgstab, name) for name in ("Stabilised", "bicgstab_solve")},
        **{name: getattr(small_gmres, name) for name in ("Restarted", "gmres_solve")},
    )


class KrylovKernel(NamedTuple):
    """The compiled solve of a Krylov method, and how many rows of numbers it leaves."""

    solve: Any
    rows: int


def krylov_kernel(scheme: Any, dtype: np.dtype) -> KrylovKernel | None:
    """That of a scheme, which may precondition with a diagonal; None for the methods that look now and then."""
    known = kernels()
    if isinstance(scheme, known.ConjugateGradients):
        return KrylovKernel(known.cg_solve, 3)
    if isinstance(scheme, known.Stabilised):
        return KrylovKernel(known.bicgstab_solve, 1)
    if isinstance(scheme, known.Restarted):
        return KrylovKernel(known.gmres_solve, 1 + (scheme.restart + 1) * (2 if dtype.kind == "c" else 1))
    return None


def _cg(method: CG, state: Any, n: int) -> Any:
    return None if method.flexible else kernels().ConjugateGradients(np.empty(0))


def _bicgstab(method: BiCGSTAB, state: Any, n: int) -> Any:
    return kernels().Stabilised(np.empty(0))


def _gmres(method: GMRES, state: Any, n: int) -> Any:
    restart = min(int(method.restart), n)
    return kernels().Restarted(np.empty(0), restart) if restart <= MOST_VECTORS and not method.flexible else None


def _chebyshev(method: Chebyshev, state: ChebyshevState, n: int) -> Any:
    return kernels().Momentum(state.low, state.high, state.decay, 0.0, False)


def _richardson(method: Richardson, state: RichardsonState, n: int) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(state.omega), False)


def _jacobi(method: Jacobi, state: Any, n: int) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(method.omega), True)


def _sweeps(method: SOR, state: SORState, n: int) -> Any:
    if method.order != "natural":
        return None
    reverses = method.reverses
    return kernels().Sweeps(float(state.omega), False in reverses, True in reverses)


# From (method, its state without vectors, unknowns) to what the kernels take besides the limits; None where they cannot
# do it. By the place of the method's class, so that methods need not be loaded to be in the table.
_ROWS: dict[str, Callable[..., Any]] = {
    "krylov.cg:CG": _cg,
    "krylov.bicgstab:BiCGSTAB": _bicgstab,
    "krylov.gmres:GMRES": _gmres,
    "chebyshev.chebyshev:Chebyshev": _chebyshev,
    "relaxation.richardson:Richardson": _richardson,
    "relaxation.jacobi:Jacobi": _jacobi,
    "relaxation.sor:SOR": _sweeps,
    "relaxation.sor:GaussSeidel": _sweeps,
    "relaxation.sor:SSOR": _sweeps,
}
SMALL = {f"{__package__.rpartition('.')[0]}.{method}": scheme for method, scheme in _ROWS.items()}
