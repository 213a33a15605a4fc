"""Which methods have a form for several right-hand sides of one matrix that share a Krylov space."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .krylov.block_cg import BlockCG
from .krylov.block_gmres import BlockGMRES

if TYPE_CHECKING:
    from .krylov.cg import CG
    from .krylov.gmres import GMRES

__all__ = ["BLOCKS", "BlockForm"]


class BlockForm(NamedTuple):
    """The block form of a method.

    Attributes
    ----------
    made : callable
        From the method to what makes a block of it; to None where its parameters have no block form.
    vectors : callable
        From the method to the vectors that it keeps of each column.
    unasked : bool
        It was measured to take less time than its columns one by one, so that ``block="auto"`` may take it.
    """

    made: Callable[[Any], Callable[..., Any] | None]
    vectors: Callable[[Any], int]
    unasked: bool


def _cg(method: CG) -> Callable[..., BlockCG] | None:
    return None if method.flexible else BlockCG


def _gmres(method: GMRES) -> Callable[..., BlockGMRES] | None:
    return None if method.flexible else partial(BlockGMRES, method.restart)


# By the place of the method's class.
BLOCKS = {
    f"{__package__}.krylov.cg:CG": BlockForm(_cg, lambda method: 8, True),
    f"{__package__}.krylov.gmres:GMRES": BlockForm(_gmres, lambda method: method.restart + 8, False),
}
