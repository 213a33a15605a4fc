"""Which methods have a form for several right-hand sides of one matrix that share a Krylov space."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .krylov.block_cg import BlockCG
from .krylov.block_gmres import BlockGMRES

if TYPE_CHECKING:
    from .krylov.cg import CG
    from .krylov.gmres import GMRES

__all__ = ["BLOCKS"]


def _cg(method: CG) -> Callable[..., BlockCG] | None:
    return None if method.flexible else BlockCG


def _gmres(method: GMRES) -> Callable[..., BlockGMRES] | None:
    return None if method.flexible else partial(BlockGMRES, method.restart)


# By the place of the method's class: from the method to its block form, or to None where its parameters have none.
BLOCKS: dict[str, Callable[[Any], Callable[..., Any] | None]] = {
    f"{__package__}.{method}": form for method, form in {"krylov.cg:CG": _cg, "krylov.gmres:GMRES": _gmres}.items()
}
