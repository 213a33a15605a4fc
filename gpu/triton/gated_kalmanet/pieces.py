"""The pieces of the chunk-wise form in Triton kernels; rows are tokens as they lie, (B T, H, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch

from ....layers.recurrence.layout import Layout
from ....layers.regression.pieces import Facts, Pieces, Solutions
from ....layers.regression.solving import Solver
from . import backward, decode, readout, solve, states

__all__ = ["pieces", "pieces_for", "precision_for", "sums_precision_for"]


def precision_for(dtype: torch.dtype, solver: Solver) -> str:
    """The cheapest products with which the tolerance is reached by residuals that are computed with them.

    The error of H x is up to their unit roundoff over the ridge ratio, times q: fifty times 2^-17 or 2^-22 for a ratio
    of 0.02 and two parts of bfloat16, or three products of TF32. The steps of Chebyshev iteration are of bfloat16 even
    so, and refined.
    """
    if solver.rtol is None:
        return "tf32x3" if dtype is torch.float32 else "bf16x3"
    return "bf16x3" if solver.rtol >= 1e-2 else "tf32x3"


def sums_precision_for(dtype: torch.dtype, solver: Solver) -> str:
    """That of the readout and of all gradients but for the solves: sums, whose errors no ridge magnifies."""
    exact = dtype is torch.float32 if solver.rtol is None else solver.rtol < 1e-4
    return "tf32x3" if exact else "bf16x3"


@dataclass(frozen=True)
class _Kernels:
    """The kernels, with products of one precision for the solves and of one for the readout."""

    precision: str
    sums: str

    def states(
        self, k: torch.Tensor, values: torch.Tensor, gates: torch.Tensor, initial: torch.Tensor, layout: Layout
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # Sums over tokens are as precise as the states that they make.
        precision, dtype = ("bf16x3", torch.bfloat16) if self.precision == "bf16" else ("tf32x3", torch.float32)
        return states.states(
            k, values, gates, initial, layout.sequences, layout.table, layout.chunks, layout.size, precision, dtype
        )

    def solve(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        gates: torch.Tensor,
        ridge_ratio: torch.Tensor,
        before: torch.Tensor,
        layout: Layout,
        solver: Solver,
        want_facts: bool,
    ) -> Solutions:
        x, norms, uppers, *facts = solve.solve(
            q, k, gates, ridge_ratio, before, layout.table, layout.size, solver, self.precision, want_facts
        )
        return Solutions(x, norms, uppers, Facts(*facts) if want_facts else None)

    def solve_adjoint(
        self,
        dx: torch.Tensor,
        x: torch.Tensor,
        k: torch.Tensor,
        gates: torch.Tensor,
        ridge_ratio: torch.Tensor,
        norms: torch.Tensor,
        uppers: torch.Tensor,
        before: torch.Tensor,
        layout: Layout,
        solver: Solver,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return solve.solve_adjoint(
            dx, x, k, gates, ridge_ratio, norms, uppers, before, layout.table, layout.size, solver, self.precision
        )

    def read(
        self,
        x: torch.Tensor,
        q: torch.Tensor | None,
        alpha: torch.Tensor | None,
        k: torch.Tensor,
        v: torch.Tensor,
        gates: torch.Tensor,
        before: torch.Tensor,
        layout: Layout,
        scale: float,
    ) -> torch.Tensor:
        return readout.read(x, q, alpha, k, v, gates, before, layout.table, layout.size, scale, self.sums)


def _split(tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
    return tokens.flatten(0, 1)


def _join(rows: torch.Tensor, shape: Sequence[int], layout: Layout) -> torch.Tensor:
    return rows.unflatten(0, tuple(shape[:2]))


def _as_chunks(rows: torch.Tensor, layout: Layout) -> torch.Tensor:
    return layout.split(rows.float().unsqueeze(0))


@cache
def pieces(precision: str, sums: str | None = None) -> Pieces:
    """Kernels whose products are of one precision: "bf16", "bf16x3", "tf32", "tf32x3" or "ieee".

    ``sums`` is that of the readout and of gradients, the same by default.
    """
    sums = sums or precision
    kernels = _Kernels(precision, sums)
    return Pieces(
        name="triton",
        split=_split,
        join=_join,
        as_chunks=_as_chunks,
        states=kernels.states,
        solve=kernels.solve,
        solve_adjoint=kernels.solve_adjoint,
        states_adjoint=partial(backward.states_adjoint, precision=sums),
        rows_adjoint=partial(backward.rows_adjoint, precision=sums),
        read=kernels.read,
        read_states_adjoint=partial(backward.read_states_adjoint, precision=sums),
        read_rows_adjoint=partial(backward.read_rows_adjoint, precision=sums),
        step=decode.decode,
    )


def pieces_for(dtype: torch.dtype, solver: Solver) -> Pieces:
    """The cheapest ones for tokens of a type and a tolerance."""
    return pieces(precision_for(dtype, solver), sums_precision_for(dtype, solver))
