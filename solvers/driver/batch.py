"""The batch axis: one system, or each system of a batch, and the warning of what did not converge."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from ...backends import choose_backend
from ...errors import ConvergenceWarning, InputError
from .solution import Solution
from .status import Status
from .stopping import Options

__all__ = ["TELL", "solve_each", "stacked", "warn_of"]

# The folders of the package, whose root also holds what is not part of it, such as examples.
PARTS = ("solvers", "backends", "operators", "precision", "gallery", "layers", "gpu", "cli")

# Who is told of a solve that did not converge, by default ``warn_of``: what solves as a part of more says which it was.
TELL: ContextVar[Callable[[Solution], None]] = ContextVar("TELL")


def solve_each(one: Any, A: Any, b: Any, x0: Any, options: Options) -> Solution:
    """Apply ``one(A, b, x0, options)`` to a system or to each of a batch, and warn of what did not converge."""
    A = A if callable(A) or hasattr(A, "matvec") else _as_array(A, "A")
    b = _as_array(b, "b")
    x0 = None if x0 is None else _as_array(x0, "x0")
    shape, size = getattr(A, "shape", None), b.shape
    if shape is not None and len(shape) < 2:
        raise InputError(f"A: found shape {tuple(shape)}; wanted a square matrix (n, n)")
    single = (shape is None or len(shape) == 2) and len(size) <= 2 and (len(size) < 2 or size[1] == 1)
    with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
        solution = one(A, b, x0, options) if single else _batch(one, A, b, x0, tuple(shape or ()), options)
    if not solution.converged:
        TELL.get(warn_of)(solution)
    return solution


def _as_array(value: Any, name: str) -> Any:
    """Lists and numbers as NumPy arrays; whatever has a shape as it is."""
    if hasattr(value, "shape"):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name}: cannot be read as an array ({error})") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name}: found {type(value).__name__}; wanted an array of numbers")
    return array


def _batch(one: Any, A: Any, b: Any, x0: Any, shape: tuple[int, ...], options: Options) -> Solution:
    """Each system by itself: its own stopping, its own reason, and a finished one no longer changes.

    An interrupt ends the batch: the systems that were not begun come back with their first guesses.
    """
    lead, n = shape[:-2], shape[-1]
    size = tuple(b.shape)
    if lead and size == shape[:-1]:
        columns: tuple[int, ...] = ()
    elif len(size) >= 2 and size[-2] == n and size[:-2] == lead:
        columns = size[-1:]
    else:
        raise InputError(
            f"b: found shape {size} for A of shape {shape}; wanted {shape[:-1]} (a vector a system) or "
            f"{(*shape[:-1], 'k')} (k right-hand sides a system)"
        )
    if x0 is not None and tuple(x0.shape) != size:
        raise InputError(f"x0: found shape {tuple(x0.shape)}; wanted {size}, the shape of b")
    systems: list[Solution] = []
    interrupted = False
    for index in np.ndindex(*lead, *columns):
        at, column = index[: len(lead)], index[len(lead) :]
        where = (*at, slice(None), *column)
        matrix = A[(*at, ...)] if lead else A
        guess = None if x0 is None else x0[where]
        system = one(matrix, b[where], guess, replace(options, maxiter=0, callback=None) if interrupted else options)
        if interrupted and not system.converged:
            system.status, system.reason = Status.INTERRUPTED, "An earlier system of the batch was interrupted."
        interrupted = interrupted or system.status is Status.INTERRUPTED
        systems.append(system)
    return stacked(tuple(systems), lead, columns, b)


def stacked(systems: tuple[Solution, ...], lead: tuple[int, ...], columns: tuple[int, ...], b: Any) -> Solution:
    """The solutions of a batch as one."""
    if not systems:
        return Solution(
            b,
            Status.CONVERGED,
            "The batch is empty.",
            0,
            0,
            0.0,
            np.zeros((*lead, *columns)),
            np.zeros(0),
            "",
            "",
            "float64",
            2.0**-53,
        )
    first = systems[0]
    backend = choose_backend(None, first.x)
    x = backend.stack([system.x for system in systems], (*lead, *columns), bool(columns))
    failed = [index for index, system in enumerate(systems) if not system.converged]
    if failed:
        at = tuple(int(k) for k in np.unravel_index(failed[0], (*lead, *columns)))
        reason = (
            f"{len(failed)} of {len(systems)} systems did not converge; the first, {at}: {systems[failed[0]].reason}"
        )
    else:
        reason = f"All {len(systems)} systems converged."

    def gathered(name: str) -> np.ndarray:
        return np.array([getattr(system, name) for system in systems]).reshape(*lead, *columns)

    return Solution(
        x=x,
        status=systems[failed[0]].status if failed else Status.CONVERGED,
        reason=reason,
        iterations=gathered("iterations"),
        matvecs=gathered("matvecs"),
        seconds=sum(system.seconds for system in systems),
        relative_residual=gathered("relative_residual"),
        residual_norm=gathered("residual_norm"),
        method=first.method,
        backend=first.backend,
        precision=first.precision,
        unit_roundoff=first.unit_roundoff,
        tolerance=first.tolerance,
        systems=systems,
    )


def warn_of(solution: Solution, which: str = "") -> None:
    """Warn at the line outside this package (and torch, which calls it back) that asked for the solve."""
    here = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    frame, level = sys._getframe(1), 1
    inside = tuple(os.path.join(here, part) for part in PARTS)
    if "torch" in sys.modules:
        inside = (*inside, os.path.dirname(str(sys.modules["torch"].__file__)))
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{which}{solution.status.value}: {solution.reason}", ConvergenceWarning, stacklevel=level + 1)
