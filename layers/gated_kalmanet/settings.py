"""How the regression of each token is solved."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOLVERS", "Solver"]

SOLVERS = ("chebyshev", "cg", "exact")


@dataclass(frozen=True)
class Solver:
    """One of the solvers, with either a number of steps or a relative residual; checked where a user gives them."""

    name: str = "chebyshev"
    interval: str = "wolkowicz_styan"
    num_iter: int | None = None
    rtol: float | None = 3e-4

    def width(self, dimension: int) -> int:
        """Numbers a token needs in one array."""
        return dimension * dimension if self.name == "exact" else dimension
