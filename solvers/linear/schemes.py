"""What the compiled solves of small systems take of each method."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..chebyshev.chebyshev import Chebyshev, ChebyshevState
    from ..krylov.cg import CG
    from ..relaxation.jacobi import Jacobi
    from ..relaxation.richardson import Richardson, RichardsonState
    from ..relaxation.sor import SOR, SORState

__all__ = ["SMALL", "kernels"]


@cache
def kernels() -> Any:
    """What the kernels are called by, imported when the first small system is solved: that imports Numba."""
    from ...backends.compiled import small, small_batch, small_cg, small_stationary

    return SimpleNamespace(
        Limits=small.Limits,
        solve_all=small_batch.solve_all,
        **{name: getattr(small_stationary, name) for name in ("Momentum", "Sweeps", "stationary_solve")},
        **{name: getattr(small_cg, name) for name in ("ConjugateGradients", "cg_solve")},
    )


def _cg(method: CG, state: Any) -> Any:
    return None if method.flexible else kernels().ConjugateGradients(np.empty(0))


def _chebyshev(method: Chebyshev, state: ChebyshevState) -> Any:
    return kernels().Momentum(state.low, state.high, state.decay, 0.0, False)


def _richardson(method: Richardson, state: RichardsonState) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(state.omega), False)


def _jacobi(method: Jacobi, state: Any) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(method.omega), True)


def _sweeps(method: SOR, state: SORState) -> Any:
    if method.order != "natural":
        return None
    reverses = method.reverses
    return kernels().Sweeps(float(state.omega), False in reverses, True in reverses)


# From (method, its state without vectors) to what the kernels take besides the limits; None where they cannot do it.
# By the place of the method's class, so that methods need not be loaded to be in the table.
_ROWS: dict[str, Callable[[Any, Any], Any]] = {
    "krylov.cg:CG": _cg,
    "chebyshev.chebyshev:Chebyshev": _chebyshev,
    "relaxation.richardson:Richardson": _richardson,
    "relaxation.jacobi:Jacobi": _jacobi,
    "relaxation.sor:SOR": _sweeps,
    "relaxation.sor:GaussSeidel": _sweeps,
    "relaxation.sor:SSOR": _sweeps,
}
SMALL = {f"{__package__.rpartition('.')[0]}.{method}": scheme for method, scheme in _ROWS.items()}
