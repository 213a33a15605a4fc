"""Ridges: how much of the identity to add to H so that its condition number stays below what a precision bears.

Sources: Tabeart, Dance, Lawless, Nichols & Waller, Improving the condition number of estimated covariance matrices
(Tellus A 72, 2020, arXiv:1810.10984), for the exact ridge; Wolkowicz & Styan, Bounds for eigenvalues using
traces (Linear Algebra Appl. 29, 1980), Theorem 2.1; Gated KalmaNet (arXiv:2511.21016) for the Frobenius rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ..naming import choice
from .formats import format_named

__all__ = [
    "EigenvalueBounds",
    "RidgeEffect",
    "condition_limit",
    "frobenius_ridge",
    "ridge_effect",
    "ridge_for_condition",
    "wolkowicz_styan",
]

RidgeMethod = Literal["exact", "guaranteed"]
METHODS: tuple[RidgeMethod, ...] = ("exact", "guaranteed")


def condition_limit(format: Any, c: float = 1.0) -> float:
    """The condition number up to which solves and refinement in a format are safe, 1 / (c u).

    Parameters
    ----------
    format : str, Format, FixedPoint or BlockFormat
    c : float
        1 is safe; refinement often still contracts down to 1/4 (Carson & Higham, SIAM J. Sci. Comput. 40, 2018, for
        the limit kappa u < 1).

    Examples
    --------
    >>> from resolvent.precision import condition_limit
    >>> condition_limit("bf16"), condition_limit("fp16"), condition_limit("bf16", c=0.25)
    (256.0, 2048.0, 1024.0)
    """
    if not c > 0:
        raise ValueError(f"c: found {c}; wanted a positive number")
    return 1 / (c * float(format_named(format).unit_roundoff))


class EigenvalueBounds(NamedTuple):
    """Intervals that hold the smallest and the largest eigenvalue."""

    smallest_from: Any
    smallest_to: Any
    largest_from: Any
    largest_to: Any


def wolkowicz_styan(trace: Any, squared_frobenius: Any, n: int) -> EigenvalueBounds:
    """Bounds of the extreme eigenvalues of a Hermitian matrix from its trace and Frobenius norm alone.

    With m = tr(H)/n and s^2 = ||H||_F^2/n - m^2, the mean and variance of the eigenvalues,

        m - s sqrt(n - 1) <= lambda_min <= m - s/sqrt(n - 1),    m + s/sqrt(n - 1) <= lambda_max <= m + s sqrt(n - 1)

    (Wolkowicz & Styan 1980, Theorem 2.1). Both quantities follow from a recurrence where H is updated by rank one.

    Parameters
    ----------
    trace, squared_frobenius : float or array of any shape and library
        tr(H), and the sum of the squared moduli of H.
    n : int
        Order of H.

    Returns
    -------
    EigenvalueBounds
        Of numbers or arrays like the arguments.

    Notes
    -----
    They are sharp. Where all eigenvalues are nearly the same, s^2 is a difference of nearly equal numbers, and the
    bounds have an error of sqrt(u) m; a negative difference counts as zero.

    Examples
    --------
    >>> from resolvent.precision.ridge import wolkowicz_styan
    >>> round(wolkowicz_styan(6.0, 14.0, 3).largest_to, 6)  # eigenvalues 1, 2 and 3
    3.154701
    """
    if n < 1:
        raise ValueError(f"n: found {n}; wanted at least 1")
    mean = trace / n
    variance = squared_frobenius / n - mean * mean
    spread = ((variance + abs(variance)) / 2) ** 0.5
    return _bounds(mean, spread, n)


def _bounds(mean: Any, spread: Any, n: int) -> EigenvalueBounds:
    far = spread * math.sqrt(n - 1)
    near = spread / math.sqrt(max(n - 1, 1))
    return EigenvalueBounds(mean - far, mean - near, mean + near, mean + far)


def ridge_for_condition(H: Any, kappa_max: float, method: RidgeMethod = "exact") -> Any:
    """The ridge lambda with which the condition number of H + lambda I is at most ``kappa_max``.

    Parameters
    ----------
    H : array_like of shape (..., n, n)
        Symmetric or Hermitian matrices; NumPy, torch or another library of the array API standard, float32 or float64
        (complex64, complex128), on any device.
    kappa_max : float
        More than 1; ``condition_limit("bf16")``, say.
    method : {"exact", "guaranteed"}
        ``exact``: the smallest such ridge, max(0, (lambda_max - kappa_max lambda_min) / (kappa_max - 1)), from all
        eigenvalues. ``guaranteed``, for positive semidefinite H: L / (kappa_max - 1) with an upper bound
        L >= lambda_max, the least of the infinity norm (Gershgorin), the Frobenius norm and Wolkowicz & Styan's bound;
        larger than needed, but no eigenvalue is computed.

    Returns
    -------
    array of shape (...), real, of H's library and device
        The ridges; zero where H will do as it is. Of H = 0, which any ridge conditions perfectly, the smallest normal
        number.

    Raises
    ------
    ValueError
        For ``kappa_max`` of 1 or less, NaN or infinity in H, and H that is not Hermitian.
    TypeError
        For other dtypes; half precision has no eigenvalues: convert it to float32.

    Notes
    -----
    Eigenvalues are taken to be wrong by n u ||H||, as computed ones and those of a rounded Gram matrix are: the ridge
    is larger by about as much times kappa_max/(kappa_max - 1), and the promise holds for the matrix H + lambda I as it
    is stored, to a factor 1 + 4u. Where kappa_max n u is above one, that margin is the larger part. Adding a ridge
    changes the solution, by what ``ridge_effect`` tells. Cost: ``exact`` O(n^3), ``guaranteed`` three passes over H.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.precision import condition_limit, ridge_effect, ridge_for_condition
    >>> H = np.diag([1e-6, 0.1, 1.0])
    >>> ridge = ridge_for_condition(H, condition_limit("bf16"))
    >>> float(np.round(ridge, 8)), float(np.round(np.linalg.cond(H + ridge * np.eye(3)), 6))
    (0.00392056, 256.0)
    >>> float(np.round(ridge_for_condition(H, 256.0, "guaranteed"), 8))
    0.00392157
    """
    method = choice("method", method, METHODS)
    if not 1 < kappa_max < math.inf:
        raise ValueError(f"kappa_max: found {kappa_max}; wanted a finite number greater than 1")
    xp, H = _checked(H)
    n = H.shape[-1]
    doubt = n * xp.finfo(H.dtype).eps / 2
    tiny = float(xp.finfo(H.dtype).smallest_normal)
    if method == "exact":
        smallest, largest = _extremes(xp, H)
        margin = doubt * xp.maximum(xp.abs(smallest), xp.abs(largest))
        # Divided before the difference is taken, which could overflow.
        ridge = (largest + margin) / (kappa_max - 1) - (smallest - margin) * (kappa_max / (kappa_max - 1))
    else:
        largest = _upper_bound(xp, H) * (1 + doubt)
        ridge = largest * ((1 + kappa_max * doubt) / (kappa_max - 1))
    zero = xp.zeros_like(ridge)
    ridge = xp.where(ridge > zero, ridge, zero)
    return _as_given(xp.where(_largest_modulus(xp, H) == zero, zero + tiny, ridge))


@dataclass(frozen=True)
class RidgeEffect:
    """What a ridge does to H and to solutions.

    Attributes
    ----------
    ridge : array of shape (...)
        lambda.
    smallest, largest : array of shape (...)
        The extreme eigenvalues of H.
    condition : array of shape (...)
        (lambda_max + lambda) / (lambda_min + lambda), in the 2-norm; infinite where H + lambda I is not positive
        definite.
    bias_bound : array of shape (...)
        lambda / (lambda_min + lambda) >= ||x_lambda - x|| / ||x|| for H x = b and (H + lambda I) x_lambda = b; infinite
        likewise.
    """

    ridge: Any
    smallest: Any
    largest: Any
    condition: Any
    bias_bound: Any


def ridge_effect(H: Any, ridge: Any) -> RidgeEffect:
    """Condition number with a ridge, and a bound of the bias it brings into solutions.

    Since x_lambda - x = -lambda (H + lambda I)^-1 x, the bias is at most lambda / (lambda_min + lambda), attained by
    the eigenvector of lambda_min. Without bias the ridge serves as a preconditioner: the iteration
    x <- x + (H + lambda I)^-1 (b - H x) converges to x by that factor a step.

    Parameters
    ----------
    H : array_like of shape (..., n, n)
        As for ``ridge_for_condition``.
    ridge : float or array that broadcasts with shape (...)

    Returns
    -------
    RidgeEffect

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.precision import ridge_effect
    >>> effect = ridge_effect(np.diag([1.0, 2.0, 9.0]), 1.0)
    >>> float(effect.condition), float(effect.bias_bound)
    (5.0, 0.5)
    """
    xp, H = _checked(H)
    smallest, largest = _extremes(xp, H)
    ridge = ridge + xp.zeros_like(smallest)
    bottom, top = smallest + ridge, largest + ridge
    definite = bottom > 0
    safe = xp.where(definite, bottom, xp.ones_like(bottom))
    infinite = xp.zeros_like(bottom) + math.inf
    condition, bias = (xp.where(definite, part / safe, infinite) for part in (top, xp.abs(ridge)))
    return RidgeEffect(ridge, smallest, largest, condition, bias)


def frobenius_ridge(H: Any, a: float = 0.02) -> Any:
    """The ridge a ||H||_F, with which the condition number of H + lambda I is at most 1 + 1/a for H >= 0.

    It follows the scale of H, and ||H||_F has a recurrence where H is updated by rank one. The rule of Gated KalmaNet
    (arXiv:2511.21016), whose default is 0.02.

    Parameters
    ----------
    H : array_like of shape (..., n, n)
    a : float
        Positive.

    Returns
    -------
    array of shape (...)
        Zero for H = 0, which then stays singular.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.precision import frobenius_ridge
    >>> float(frobenius_ridge(np.diag([3.0, 4.0])))
    0.1
    """
    if not 0 < a < math.inf:
        raise ValueError(f"a: found {a}; wanted a positive number")
    xp, H = _checked(H)
    return _as_given(a * _frobenius(xp, H))


def _as_given(values: Any) -> Any:
    """NumPy gives scalars where others give arrays without dimensions."""
    return values[()] if isinstance(values, np.ndarray) else values


def _checked(H: Any) -> tuple[Any, Any]:
    """The namespace of the library, and H as one of its arrays."""
    from array_api_compat import array_namespace, is_array_api_obj

    H = H if is_array_api_obj(H) else np.asarray(H)
    xp = array_namespace(H)
    if H.ndim < 2 or H.shape[-1] != H.shape[-2] or H.shape[-1] == 0:
        raise ValueError(f"H: found shape {tuple(H.shape)}; wanted square matrices (..., n, n)")
    if xp.isdtype(H.dtype, ("integral", "bool")):
        H = xp.astype(H, xp.float64)
    if H.dtype not in (xp.float32, xp.float64, xp.complex64, xp.complex128):
        raise TypeError(f"H: found dtype {H.dtype}; wanted float32, float64, complex64 or complex128")
    if not bool(xp.all(xp.isfinite(H))):
        raise ValueError("H: found NaN or infinity; wanted finite entries")
    adjoint = xp.matrix_transpose(H)
    if xp.isdtype(H.dtype, "complex floating"):
        adjoint = xp.conj(adjoint)
    allowed = 1e3 * xp.finfo(H.dtype).eps * _largest_modulus(xp, H)
    if bool(xp.any(_largest_modulus(xp, H - adjoint) > allowed)):
        raise ValueError("H: found a matrix that is not Hermitian; wanted H equal to its conjugate transpose")
    return xp, H


def _extremes(xp: Any, H: Any) -> tuple[Any, Any]:
    values = xp.linalg.eigvalsh(H)
    return values[..., 0], values[..., -1]


def _largest_modulus(xp: Any, H: Any) -> Any:
    return xp.max(xp.abs(H), axis=(-2, -1))


def _frobenius(xp: Any, H: Any) -> Any:
    """The norm, without overflow of its square."""
    size = _largest_modulus(xp, H)
    unit = xp.where(size > 0, size, xp.ones_like(size))
    parts = xp.abs(H) / unit[..., None, None]
    return unit * xp.sqrt(xp.sum(parts * parts, axis=(-2, -1)))


def _upper_bound(xp: Any, H: Any) -> Any:
    """The least of three upper bounds of the largest eigenvalue, up to n roundings."""
    from array_api_compat import device

    n = H.shape[-1]
    row_sums = xp.max(xp.sum(xp.abs(H), axis=-1), axis=-1)
    diagonal = xp.linalg.diagonal(H)
    mean = xp.sum(xp.real(diagonal) if xp.isdtype(H.dtype, "complex floating") else diagonal, axis=-1) / n
    # The variance of the eigenvalues as a sum of squares, in which nothing cancels.
    centred = H - mean[..., None, None] * xp.eye(n, dtype=H.dtype, device=device(H))
    from_trace = _bounds(mean, _frobenius(xp, centred) / math.sqrt(n), n).largest_to
    return xp.minimum(xp.minimum(row_sums, _frobenius(xp, H)), from_trace)
