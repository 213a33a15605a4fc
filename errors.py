"""What Resolvent raises and warns: bad input is an error that names the argument, an unconverged solve a warning."""

from __future__ import annotations

import sys
import warnings
from typing import Any

__all__ = [
    "BackendError",
    "BusyError",
    "ConvergenceError",
    "ConvergenceWarning",
    "GradientWarning",
    "InputError",
    "NotHermitianError",
    "ParameterError",
    "SingularError",
    "undeclared",
    "warn_caller",
]


class InputError(ValueError):
    """An argument cannot be used; the message names it, what was found and what was wanted."""


class ParameterError(InputError, TypeError):
    """A keyword that the function, or the method named, does not have; the message says which one was meant."""


class NotHermitianError(InputError):
    """The method needs a symmetric (complex: Hermitian) matrix and the entries show that A is not."""


class SingularError(InputError):
    """A is singular on the face of it: an empty row, or a zero diagonal entry where the method divides by it."""


class BusyError(InputError):
    """A Sequence, a tuner or a prepared solver is in use: by another thread, or by what the solve itself calls."""


class BackendError(TypeError):
    """The arrays belong to different libraries, or the backend asked for cannot work on them."""


class ConvergenceError(ArithmeticError):
    """Raised by ``Solution.raise_for_status()``: the solve ended without reaching its tolerance."""


class ConvergenceWarning(UserWarning):
    """A solve ended without reaching its tolerance; the message is ``Solution.reason``."""


class GradientWarning(UserWarning):
    """A tensor that requires gradients was given to what has none; those of ``resolvent.layers`` have them."""


def undeclared(A: Any, name: str) -> TypeError:
    """The error for a callable that does not say its shape and dtype."""
    return TypeError(
        f"{name}: a callable needs the attributes shape and dtype, which {type(A).__name__} lacks; "
        f"declare them by rv.as_operator({name}, shape, dtype)"
    )


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside of this package, and of torch, which calls it back, that led here.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    inside = (__name__.partition(".")[0], "torch")
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)
