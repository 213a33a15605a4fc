"""From tensors to numbers: a function of the solvers', outside of any graph, and its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ...errors import InputError
from ...solvers.driver.batch import TELL, warn_of
from ...solvers.driver.status import Status
from ..tensors import HALF, check_tensor

__all__ = ["Solver", "checked_matrix", "default_rtol", "of_finite"]


@dataclass(frozen=True)
class Solver:
    """A function of the solvers' with its parameters."""

    function: Callable[..., Any]
    name: str
    rtol: float | None
    parameters: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *tensors: Any) -> Any:
        """The function of tensors; warns where the tolerance is not met."""
        rtol = default_rtol(tensors[0].dtype) if self.rtol is None else self.rtol
        before = TELL.set(lambda solution: None)  # told by the caller of this, who knows which function it was
        try:
            solution = self.function(*tensors, rtol=rtol, **self.parameters)
        finally:
            TELL.reset(before)
        if not (solution.converged or (self.rtol is None and _as_far_as_rounding_allows(solution, tensors[0].dtype))):
            warn_of(solution, f"{self.name}: ")
        return solution.x


def of_finite(solver: Callable[..., Any], *tensors: Any) -> Any:
    """The function of the members of stacks that are finite, and NaN of others.

    Derivatives are taken in directions that may not be finite, as those of a loss that is scaled until it overflows.
    """
    finite = torch.stack([tensor.isfinite().all(-1).all(-1) for tensor in tensors]).all(0)
    if bool(finite.all()):
        return solver(*tensors)
    good = finite[..., None, None]
    ones = [torch.eye(*tensor.shape[-2:], dtype=tensor.dtype, device=tensor.device) for tensor in tensors]
    x = solver(*(torch.where(good, tensor, one) for tensor, one in zip(tensors, ones, strict=True)))
    return torch.where(good, x, torch.nan)


def default_rtol(dtype: Any) -> float:
    """Of a forward solve, whose errors derivatives inherit times condition numbers."""
    return 1e-12 if torch.finfo(dtype).bits == 64 else 1e-5


def _as_far_as_rounding_allows(solution: Any, dtype: Any) -> bool:
    """Whether it is the default tolerance alone that was missed, by the rounding that large condition numbers bring."""
    near = float(solution.relative_residual) <= torch.finfo(dtype).eps ** 0.5
    return solution.status is Status.STAGNATED and near


def checked_matrix(A: Any, name: str = "A", square: bool = False) -> Any:
    """A in what is worked in, half precision in float32; an error for what is no stack of matrices."""
    check_tensor(A, name)
    shape = tuple(A.shape)
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        wanted = "a square matrix (..., n, n)" if square else "a matrix (..., m, n)"
        raise InputError(f"{name}: found shape {shape}; wanted {wanted}")
    return A.float() if A.dtype in HALF else A
