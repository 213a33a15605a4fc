"""Condition numbers: exact where that is cheap, otherwise estimated, with lower and upper bounds kept apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError, NotHermitianError
from ...naming import choice, refusing_other_names
from ..linear.system import LinearSystem
from .lanczos import Lanczos, generator

__all__ = ["DENSE_LIMIT", "METHODS", "ConditionNumber", "checked_system", "condition_number"]

ConditionMethod = Literal["auto", "exact", "lanczos", "norm1"]
METHODS: tuple[ConditionMethod, ...] = ("auto", "exact", "lanczos", "norm1")
DENSE_LIMIT = 500  # up to this order all singular values are computed, in a fraction of a second
_FAILURE = 1e-6  # probability that Lanczos bounds are wrong, by an unlucky start
_ROUNDING = 16  # times sqrt(k) unit roundoffs of the largest eigenvalue: by that, Ritz values of k steps may be wrong
_GROWTH = 1.3  # of the steps between two looks at the Ritz values, so that these cost no more than the steps


@dataclass(frozen=True)
class ConditionNumber:
    """The condition number ||A|| ||A^-1|| as far as it is known.

    Attributes
    ----------
    estimate : float
        Infinite for a matrix that is singular, or cannot be told from one in double precision.
    lower, upper : float
        The truth lies between them: always but for rounding where ``failure_probability`` is zero. ``upper`` is
        infinite where nothing bounds it.
    norm : int
        1 or 2.
    method : str
        "exact", "lanczos" or "norm1".
    failure_probability : float
        Over the choice of the random start, that the truth is larger than ``upper``.
    reason : str
        Sentences: what was computed, and what that does not tell.
    smallest, largest : (float, float) or None
        Bounds of the extreme eigenvalues of a Hermitian matrix, of the extreme singular values of another one;
        with the probabilities of the above. None in the 1-norm.
    """

    estimate: float
    lower: float
    upper: float
    norm: int
    method: str
    failure_probability: float
    reason: str
    smallest: tuple[float, float] | None = None
    largest: tuple[float, float] | None = None

    def __float__(self) -> float:
        return self.estimate

    def __str__(self) -> str:
        where = f"in the {self.norm}-norm"
        if math.isinf(self.lower):
            return f"infinite {where}"
        if math.isinf(self.estimate):
            return f"infinite to rounding, at least {self.lower:.3g} {where}"
        if self.method == "exact":
            return f"{self.estimate:.6g} {where}, exact to rounding"
        if math.isinf(self.upper):
            return f"at least {self.lower:.6g} {where}"
        chance = f", but for a chance of {self.failure_probability:.0e}" if self.failure_probability else ""
        return f"at least {self.lower:.6g} and at most {self.upper:.6g} {where}{chance}"


@refusing_other_names
def condition_number(
    A: Any,
    *,
    norm: Literal[1, 2] = 2,
    method: ConditionMethod = "auto",
    rtol: float = 0.1,
    steps: int = 1000,
    seed: int = 0,
    backend: str | Backend | None = None,
) -> ConditionNumber:
    """The condition number of a square matrix.

    Parameters
    ----------
    A : anything that ``resolvent.cg`` takes, (n, n)
        One that only multiplies must be Hermitian, which is taken on trust.
    norm : {2, 1}
    method : {"auto", "exact", "lanczos", "norm1"}
        ``exact``: all eigenvalues, singular values, or the inverse. ``lanczos``, for Hermitian positive definite A and
        the 2-norm: Ritz values of the Lanczos process from a random start. ``norm1``, for the 1-norm: ||A^-1|| is
        estimated from a few solves with an LU factorisation. ``auto``: "exact" up to order 500, then "lanczos" or
        "norm1", by norm; for A that is not Hermitian positive definite the 1-norm is given in place of the 2-norm,
        and the result says so.
    rtol : float
        ``lanczos`` stops when upper and lower bound agree to this.
    steps : int
        Lanczos steps at most.
    seed : int
        Of random starts; the same seed gives the same bits.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    ConditionNumber

    Raises
    ------
    InputError
        For arguments out of range, an empty matrix, a method that needs entries where A only multiplies, and
        ``method="lanczos"`` where A turns out not to be positive definite.
    NotHermitianError
        For ``method="lanczos"`` where the entries show that A is not Hermitian.

    Notes
    -----
    Everything is computed in double precision. Cost: ``exact`` O(n^3); ``lanczos`` one product with A, 9 vector
    passes and 2 reductions a step, about sqrt(kappa)/2 log(4 sqrt(kappa n)/1e-6) steps or less; ``norm1`` a
    factorisation and some ten solves.

    ``lanczos``: Ritz values lie inside the spectrum, so their ratio is a lower bound. After k steps the Lanczos
    polynomial p_k, whose roots are the Ritz values, has ||p_k(A) b|| = beta_1 ... beta_k ||b||; hence ``|p_k(lambda)|
    |v^H b| <= beta_1 ... beta_k ||b||`` for an eigenvalue lambda with eigenvector v. A random b is so close to
    orthogonal to v that ``|v^H b| < t ||b||`` with probability at most t sqrt(2 n / pi) only (complex b: n t^2), and
    with that t the inequality bounds lambda_min from below and lambda_max from above (van Dorsselaer, Hochstenbach &
    van der Vorst, SIAM J. Matrix Anal. Appl. 22, 2000; Kuczynski & Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992,
    Theorem 4.2, bound the steps beforehand). The bounds of Gershgorin and of Wolkowicz & Styan, which never fail, are
    used where they are better.

    ``norm1``: Hager's algorithm with Higham's alternating vector (Higham, ACM TOMS 14, 1988, Algorithm 4.1) and a
    random start besides; a lower bound, mostly equal to the norm, seldom less than a third of it. The upper bound is
    Varah's (1975) for matrices that are diagonally dominant by columns.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.gallery.poisson((40, 40))
    >>> found = rv.condition_number(problem.A)
    >>> found.method, found.lower <= problem.condition <= found.upper, round(found.estimate), round(problem.condition)
    ('lanczos', True, 681, 681)
    """
    if norm not in (1, 2):
        raise InputError(f"norm: found {norm!r}; wanted 1 or 2")
    method = choice("method", method, METHODS)
    if (method, norm) in (("lanczos", 1), ("norm1", 2)):
        raise InputError(f"method: {method!r} tells the {3 - norm}-norm, but norm is {norm}")
    if not 0 < rtol < math.inf:
        raise InputError(f"rtol: found {rtol}; wanted a positive number")
    if steps < 1:
        raise InputError(f"steps: found {steps}; wanted at least 1")
    system = checked_system(A, backend)
    facts = system.facts
    if facts is None and (method in ("exact", "norm1") or norm == 1):
        raise InputError('A: only multiplies, but its entries are needed; use norm=2 and method="lanczos"')
    if facts is not None and facts.empty_row >= 0:
        reason = f"A is singular: row {facts.empty_row} has no nonzero."
        return ConditionNumber(math.inf, math.inf, math.inf, norm, "exact", 0.0, reason)
    if method == "exact" or (method == "auto" and facts is not None and system.n <= DENSE_LIMIT):
        return _by_singular_values(system) if norm == 2 else _by_inverse(system)
    if norm == 1:
        return _by_factorisation(system, seed, "")
    if facts is not None and not system.hermitian:
        if method == "lanczos":
            raise NotHermitianError('A: Lanczos needs a Hermitian matrix, which A is not; use method="norm1", norm=1')
        return _by_factorisation(system, seed, "A is large and not Hermitian, so the 1-norm is given. ")
    found = _by_lanczos(system, rtol, steps, seed)
    if found is not None:
        return found
    if method == "lanczos" or facts is None:
        raise InputError(
            "A: is not positive definite, as a Lanczos step showed, so that its eigenvalue next to zero is out of "
            'reach; use method="norm1", norm=1, which needs its entries'
        )
    return _by_factorisation(system, seed, "A is large and not positive definite, so the 1-norm is given. ")


def checked_system(A: Any, backend: str | Backend | None) -> LinearSystem:
    """A in double precision, checked, in units in which nothing overflows."""
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    n = operator.shape[0]
    if n == 0:
        raise InputError("A: the matrix is empty; wanted at least one row")
    dtype = np.dtype(np.complex128 if operator.dtype.kind == "c" else np.float64)
    return LinearSystem(operator, chosen.from_numpy(np.ones(chosen.local_length(n)), dtype), backend=chosen)


# Exactly ------------------------------------------------------------------------------------------------------------


def _by_singular_values(system: LinearSystem) -> ConditionNumber:
    dense = system.operator.tocsr().toarray()
    doubt = system.n * system.unit_roundoff
    if system.hermitian:
        values = np.linalg.eigvalsh((dense + dense.conj().T) / 2)
        sizes = np.abs(values)
        ends, what = (values[0], values[-1]), "eigenvalues"
    else:
        sizes = np.linalg.svd(dense, compute_uv=False)
        ends, what = (sizes[-1], sizes[0]), "singular values"
    least, most = float(sizes.min()), float(sizes.max())
    rounding = doubt * most
    smallest, largest = (
        (_in_units(system, end - rounding), _in_units(system, end + rounding)) for end in map(float, ends)
    )
    lower, upper = _ratio(most - rounding, least + rounding), _ratio(most + rounding, least - rounding)
    if least <= rounding:
        reason = f"A is singular to rounding: all {what} were computed, and the smallest is {least / most:.1e} of the "
        return ConditionNumber(math.inf, lower, math.inf, 2, "exact", 0.0, reason + "largest.", smallest, largest)
    reason = f"All {what} were computed."
    return ConditionNumber(most / least, lower, upper, 2, "exact", 0.0, reason, smallest, largest)


def _by_inverse(system: LinearSystem) -> ConditionNumber:
    dense = system.operator.tocsr().toarray()
    try:
        inverse = np.linalg.inv(dense)
    except np.linalg.LinAlgError:
        return _singular("A is singular: elimination met a zero pivot.", "exact")
    found = float(np.abs(dense).sum(0).max() * np.abs(inverse).sum(0).max())
    doubt = system.n * system.unit_roundoff * found
    if not doubt < 1:
        # Of A with condition number below half of that, the computed inverse would be good to a factor of two.
        least = 1 / (2 * system.n * system.unit_roundoff)
        return _singular("A is singular to rounding: the computed inverse has no digit.", "exact", least)
    return ConditionNumber(
        found, found * (1 - doubt), found * (1 + doubt), 1, "exact", 0.0, "The inverse was computed."
    )


def _singular(reason: str, method: str, lower: float = math.inf) -> ConditionNumber:
    return ConditionNumber(math.inf, lower, math.inf, 1, method, 0.0, reason)


# By a factorisation -------------------------------------------------------------------------------------------------


def _by_factorisation(system: LinearSystem, seed: int, preface: str) -> ConditionNumber:
    from scipy.sparse.linalg import splu

    matrix = system.operator.tocsr()
    size = np.bincount(matrix.indices, np.abs(matrix.data), system.n)
    try:
        factors = splu(matrix.tocsc())
    except RuntimeError:
        return _singular(preface + "A is singular: a factorisation met a zero pivot.", "norm1")
    inverse = _one_norm(factors.solve, lambda y: factors.solve(y, "H"), system.n, matrix.dtype, seed)
    found = float(size.max()) * inverse
    doubt = system.n * system.unit_roundoff * found
    if not doubt < 1:
        least = 1 / (2 * system.n * system.unit_roundoff)
        return _singular(preface + "A is singular to rounding: solves with its factors have no digit.", "norm1", least)
    margin = float((2 * np.abs(matrix.diagonal()) - size).min())
    upper = _ratio(float(size.max()), margin)
    reason = (
        preface + "||A^-1|| was estimated from solves with a factorisation, which gives a lower bound, seldom less "
    )
    reason += "than a third of the norm."
    if upper < math.inf:
        reason += " The upper bound is Varah's: A is diagonally dominant by columns."
    return ConditionNumber(found, found * (1 - doubt), max(upper, found), 1, "norm1", 0.0, reason)


def _one_norm(solve: Any, solve_adjoint: Any, n: int, dtype: Any, seed: int) -> float:
    """A lower bound of the 1-norm of the inverse (Higham 1988, Algorithm 4.1), from two starts.

    ``scipy.sparse.linalg.onenormest`` draws from NumPy's global random state, which is not ours to touch.
    """
    signs = np.where(np.random.default_rng(seed).random(n) < 0.5, -1.0, 1.0)
    found = 0.0
    for start in (np.full(n, 1.0 / n), signs / n):
        x, visited = start.astype(dtype), -1
        for _ in range(5):
            y = solve(x)
            norm = float(np.abs(y).sum())
            if not math.isfinite(norm):
                return math.inf
            found, before = max(found, norm), found
            if visited >= 0 and norm <= before:
                break
            modulus = np.abs(y)
            z = solve_adjoint(np.where(modulus > 0, y / np.where(modulus > 0, modulus, 1), 1))
            at = int(np.argmax(np.abs(z)))
            if at == visited or np.abs(z[at]) <= np.vdot(z, x).real:
                break
            x, visited = np.zeros(n, dtype), at
            x[at] = 1
    alternating = (-1.0) ** np.arange(n) * (1 + np.arange(n) / max(n - 1, 1))
    return max(found, float(2 * np.abs(solve(alternating.astype(dtype))).sum() / (3 * n)))


# By Lanczos ---------------------------------------------------------------------------------------------------------


def _by_lanczos(system: LinearSystem, rtol: float, steps: int, seed: int) -> ConditionNumber | None:
    """None where a Ritz value, which lies inside the spectrum, is not positive."""
    system.prepare()
    backend, n, facts = system.backend, system.n, system.facts
    rng = generator(system, seed)
    is_complex = system.dtype.kind == "c"
    start = rng.standard_normal(system.local) + (1j * rng.standard_normal(system.local) if is_complex else 0.0)
    each = _FAILURE / 2  # of both ends
    component = math.sqrt(each / n) if is_complex else each * math.sqrt(math.pi / (2 * n))
    margin, bound = (-math.inf, math.inf) if facts is None else _certain_bounds(system)

    process = Lanczos(system, backend.from_numpy(start, system.dtype))
    look = 10
    while True:
        process.step()
        diagonal, off = process.diagonal, process.off
        taken, exhausted = len(diagonal), process.exhausted
        if taken >= look or exhausted or taken >= steps:
            look = math.ceil(_GROWTH * taken)
            ritz, low, high = _probable_interval(diagonal, off, component)
            rounding = _ROUNDING * math.sqrt(taken) * system.unit_roundoff * max(abs(ritz[0]), abs(ritz[-1]))
            if ritz[0] <= rounding:
                return (
                    None if ritz[0] < -rounding or exhausted else _numerically_singular(system, ritz, rounding, taken)
                )
            lower = (ritz[-1] - rounding) / (ritz[0] + rounding)
            smallest, largest = max(low - rounding, margin), min(high + rounding, bound)
            upper = max(_ratio(largest, smallest), lower)
            if exhausted or taken >= steps or upper <= (1 + rtol) * lower:
                break
    certain = _ratio(bound, margin) <= upper
    reason = f"{taken} Lanczos steps from a random start."
    if math.isinf(upper):
        reason += " They do not bound the smallest eigenvalue from below; more steps may."
    elif certain:
        reason += " The upper bound is Gershgorin's."
    elif upper > (1 + rtol) * lower:
        reason += " More steps may bring the bounds closer."
    return ConditionNumber(
        estimate=float(ritz[-1] / ritz[0]),
        lower=float(lower),
        upper=float(upper),
        norm=2,
        method="lanczos",
        failure_probability=0.0 if certain or math.isinf(upper) else _FAILURE,
        reason=reason,
        smallest=(_in_units(system, smallest), _in_units(system, ritz[0] + rounding)),
        largest=(_in_units(system, ritz[-1] - rounding), _in_units(system, largest)),
    )


def _numerically_singular(system: LinearSystem, ritz: np.ndarray, rounding: float, taken: int) -> ConditionNumber:
    """A Ritz value that is zero to rounding, of a matrix that may be positive definite, semidefinite or indefinite."""
    reason = f"A is singular to rounding, or indefinite: after {taken} Lanczos steps a Ritz value was zero to rounding."
    lower = float((ritz[-1] - rounding) / (2 * rounding))
    ends = (-math.inf, _in_units(system, float(ritz[0]) + rounding)), (_in_units(system, float(ritz[-1])), math.inf)
    return ConditionNumber(math.inf, lower, math.inf, 2, "lanczos", 0.0, reason, *ends)


def _certain_bounds(system: LinearSystem) -> tuple[float, float]:
    """Of the spectrum of a Hermitian matrix, from its entries: Gershgorin's, and Wolkowicz & Styan's from above."""
    from ...precision import wolkowicz_styan

    facts = system.facts
    assert facts is not None
    matrix = system.operator.tocsr()
    doubt = 1 + 4 * system.n * system.unit_roundoff
    # In units of the largest entry, whose square would leave the range.
    unit = facts.max_abs
    trace, square = float(matrix.diagonal().real.sum()) / unit, float((np.abs(matrix.data / unit) ** 2).sum())
    spread = wolkowicz_styan(trace, square * doubt, system.n).largest_to * unit
    margin = facts.margin - 4 * system.n * system.unit_roundoff * facts.row_sum
    return margin, min(facts.row_sum, spread) * doubt


def _probable_interval(diagonal: list[float], off: list[float], component: float) -> tuple[np.ndarray, float, float]:
    """Ritz values, and the ends between which the spectrum lies if the start is not too poor in their eigenvectors.

    Parameters
    ----------
    diagonal, off : lists of k floats
        alpha_1, ..., alpha_k and beta_1, ..., beta_k of the Lanczos process.
    component : float
        t, the least ``|v^H b| / ||b||`` that is reckoned with.
    """
    from scipy.linalg import eigvalsh_tridiagonal
    from scipy.optimize import brentq

    ritz = eigvalsh_tridiagonal(np.array(diagonal), np.array(off[:-1]))
    if not off[-1] > 0:
        return ritz, float(ritz[0]), float(ritz[-1])
    level = float(np.log(off).sum()) - math.log(component)

    def excess(distance: float, end: float, sign: float) -> float:
        """log |p_k| less what it can be, so far outside an end."""
        return float(np.log(np.abs(ritz - (end + sign * distance))).sum()) - level

    ends = []
    for end, sign in ((float(ritz[0]), -1.0), (float(ritz[-1]), 1.0)):
        near = 1e-14 * max(abs(ritz[0]), abs(ritz[-1]))
        far = near
        while excess(far, end, sign) < 0:
            far *= 4
        distance = near if far == near else brentq(excess, far / 4, far, args=(end, sign), rtol=1e-6)
        ends.append(end + sign * distance)
    return ritz, ends[0], ends[1]


def _ratio(most: float, least: float) -> float:
    return most / least if least > 0 else math.inf


def _in_units(system: LinearSystem, value: float) -> float:
    """In the units of the caller's matrix."""
    return float(np.ldexp(value, system.matrix_exponent))
