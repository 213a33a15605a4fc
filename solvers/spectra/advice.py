"""Which precision a system needs: the cheapest format in which it can be solved to an accuracy, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backends import Backend
from ...errors import InputError
from ...naming import refusing_other_names
from ...precision.formats import Format, format_named
from .condition import ConditionNumber, checked_system, condition_number

__all__ = ["CANDIDATES", "FormatVerdict", "PrecisionAdvice", "precision_for"]

# Cheapest first: by bits in storage; of equal ones, bf16 needs no scaling, and tf32 multiplies faster than fp32.
CANDIDATES: tuple[tuple[str, int], ...] = (("bf16", 16), ("fp16", 16), ("tf32", 32), ("fp32", 32), ("fp64", 64))
_WORKING = ("fp32", "fp64")  # what refinement may work in


@dataclass(frozen=True)
class FormatVerdict:
    """What one format can do for the system.

    Attributes
    ----------
    format : str
    bits : int
        In storage.
    error : float
        kappa u, up to which the relative error of a solution is to be expected.
    in_range : bool
        Every row and column of A, multiplied by a power of two, has an entry that is a normal number.
    solves : bool
        ``error`` is at most the accuracy asked for, and A is in range.
    corrects : bool
        kappa u <= 1, the gate up to which refinement with inner solves in this format converges, and A is in range.
    """

    format: str
    bits: int
    error: float
    in_range: bool
    solves: bool
    corrects: bool


@dataclass(frozen=True)
class PrecisionAdvice:
    """What ``precision_for`` found.

    Attributes
    ----------
    format : str or None
        The cheapest format in which a plain solve reaches the accuracy; None where none does.
    refinement : (str, str, str) or None
        The cheaper way where there is one, or the only one: ``inner_precision``, ``working`` and ``residual`` of
        ``resolvent.refine``.
    condition : float
        kappa as it was used: the upper bound where there is one, otherwise the estimate.
    accuracy : float
        Relative error of the solution that was asked for.
    reasons : tuple of str
        Sentences.
    table : tuple of FormatVerdict
        One for each candidate, cheapest first.
    """

    format: str | None
    refinement: tuple[str, str, str] | None
    condition: float
    accuracy: float
    reasons: tuple[str, ...]
    table: tuple[FormatVerdict, ...]

    def __str__(self) -> str:
        goal = f"a relative error of {self.accuracy:.0e}"
        way = ""
        if self.refinement is not None:
            inner, working, residual = self.refinement
            way = f"refinement from {inner} to {working}" + (" with residuals in fp128" if residual == "fp128" else "")
        if self.format is not None:
            head = f"{self.format} for {goal}" + (f", or {way}" if way else "")
        else:
            head = f"no format alone for {goal}, but {way}" if way else f"no format for {goal}"
        lines = [head, "", f"{'format':<8}{'bits':>4}{'kappa u':>10}  {'range':<9}{'alone':<7}refined"]
        for row in self.table:
            marks = ("fits" if row.in_range else "too small", "yes" if row.solves else "no")
            corrected = "yes" if row.corrects else "no"
            lines.append(f"{row.format:<8}{row.bits:>4}{row.error:>10.1e}  {marks[0]:<10}{marks[1]:<7}{corrected}")
        return "\n".join([*lines, "", *self.reasons])


@refusing_other_names
def precision_for(
    A: Any,
    accuracy: float,
    *,
    condition: float | ConditionNumber | None = None,
    backend: str | Backend | None = None,
) -> PrecisionAdvice:
    """The cheapest of bf16, fp16, tf32, fp32 and fp64 in which A x = b can be solved to a relative error.

    Parameters
    ----------
    A : anything that ``resolvent.cg`` takes, (n, n)
        Of one that only multiplies the range is not checked.
    accuracy : float
        ||x - A^-1 b|| / ||x|| that the solution may have, between 0 and 1.
    condition : float or ConditionNumber, optional
        kappa; by default ``condition_number(A)``.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    PrecisionAdvice
        ``str()`` of it is a report.

    Raises
    ------
    InputError
        For an accuracy that is not between 0 and 1 and a condition number below 1.

    Notes
    -----
    A backward stable solve in a format with unit roundoff u has a relative error of kappa u at most, to first order
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 7.1); conjugate gradients attain it in all
    of these formats and mostly stay far below. Refinement with inner solves in a cheaper format attains kappa u of
    the format that it works in, as long as kappa u <= 1 in the inner one; with residuals of twice the digits it attains
    u itself (Carson & Higham, SIAM J. Sci. Comput. 40, 2018, sections 3 and 4, without their factors of n).

    The range: A is scaled so that its largest entry is about 1, and the largest entry of each row and column must then
    be a normal number, or its digits are lost. ``resolvent.precision.equilibrate`` helps where one is not.

    Cost: that of ``condition_number``, and one pass over A.

    Examples
    --------
    >>> import resolvent as rv
    >>> A = rv.gallery.poisson((20, 20)).A
    >>> [rv.precision_for(A, accuracy).format for accuracy in (0.9, 0.1, 1e-4, 1e-6, 1e-12)]
    ['bf16', 'fp16', 'fp32', 'fp64', 'fp64']
    >>> print(rv.precision_for(A, 1e-6))
    fp64 for a relative error of 1e-06, or refinement from bf16 to fp64
    <BLANKLINE>
    format  bits   kappa u  range    alone  refined
    bf16      16   7.0e-01  fits      no     yes
    fp16      16   8.7e-02  fits      no     yes
    tf32      32   8.7e-02  fits      no     yes
    fp32      32   1.1e-05  fits      no     yes
    fp64      64   2.0e-14  fits      yes    yes
    <BLANKLINE>
    The condition number is 178.064 in the 2-norm, exact to rounding.
    fp64: kappa u = 2.0e-14 is at most the accuracy asked for; in fp32 it is 1.1e-05.
    rv.refine(A, b, inner_precision="bf16") reaches the same: kappa u = 7.0e-01 <= 1 in bf16.
    """
    if not 0 < accuracy < 1:
        raise InputError(f"accuracy: found {accuracy}; wanted a relative error between 0 and 1")
    system = checked_system(A, backend)
    found = condition_number(A, backend=backend) if condition is None else condition
    kappa, reasons = _condition(found)
    spread = _spread(system)
    table = tuple(_verdict(name, bits, kappa, accuracy, spread) for name, bits in CANDIDATES)
    chosen = next((row for row in table if row.solves), None)
    refinement = _refinement(table, accuracy, chosen)
    reasons += _reasons(table, accuracy, chosen, refinement)
    return PrecisionAdvice(
        format=None if chosen is None else chosen.format,
        refinement=refinement,
        condition=kappa,
        accuracy=float(accuracy),
        reasons=tuple(reasons),
        table=table,
    )


def _condition(found: float | ConditionNumber) -> tuple[float, list[str]]:
    """kappa to reckon with, and where it comes from."""
    if not isinstance(found, ConditionNumber):
        kappa = float(found)
        if not kappa >= 1:
            raise InputError(f"condition: found {found}; wanted at least 1")
        return kappa, [f"The condition number was given as {kappa:.6g}."]
    said = f"The condition number is {found}."
    if found.upper < math.inf:
        return found.upper, [said]
    if found.estimate < math.inf:
        said += " Nothing bounds it from above: the advice holds as far as the estimate is right."
    return found.estimate, [said]


def _spread(system: Any) -> float:
    """The least of the largest entries of rows and columns, in units of the largest entry of all; 1 if unknown."""
    if system.facts is None:
        return 1.0
    matrix = system.operator.tocsr()
    size = np.abs(matrix.data)
    rows, columns = np.zeros(system.n), np.zeros(system.n)
    np.maximum.at(rows, np.repeat(np.arange(system.n), np.diff(matrix.indptr)), size)
    np.maximum.at(columns, matrix.indices, size)
    largest = float(size.max(initial=0.0))
    return float(min(rows.min(), columns.min()) / largest) if largest else 0.0


def _verdict(name: str, bits: int, kappa: float, accuracy: float, spread: float) -> FormatVerdict:
    format = format_named(name)
    assert isinstance(format, Format)
    error = kappa * format.unit_roundoff
    in_range = spread >= format.smallest_normal
    return FormatVerdict(name, bits, error, in_range, error <= accuracy and in_range, error <= 1 and in_range)


def _refinement(
    table: tuple[FormatVerdict, ...], accuracy: float, chosen: FormatVerdict | None
) -> tuple[str, str, str] | None:
    """The cheapest inner format, where that is cheaper than the plain solve, and the cheapest to work in."""
    inner = next((row for row in table if row.corrects), None)
    if inner is None:
        return None
    if chosen is None:
        # Residuals of twice the digits leave rounding x as the only error.
        return (inner.format, "fp64", "fp128") if accuracy >= 4 * format_named("fp64").unit_roundoff else None
    working = next((row for row in table if row.format in _WORKING and row.solves), None)
    if working is None or table.index(inner) >= table.index(chosen):
        return None
    return inner.format, working.format, "fp64"


def _reasons(
    table: tuple[FormatVerdict, ...],
    accuracy: float,
    chosen: FormatVerdict | None,
    refinement: tuple[str, str, str] | None,
) -> list[str]:
    reasons = []
    short = [row.format for row in table if not row.in_range]
    if short:
        reasons.append(
            f"The range of {' and '.join(short)} is too small: rows or columns of A would lose their digits. "
            "rv.precision.equilibrate brings them to one size."
        )
    if chosen is None:
        best = table[-1]
        if math.isinf(best.error):
            reasons.append("To double precision A is singular: no digit of a solution is certain.")
        else:
            reasons.append(
                f"Even in fp64 kappa u is {best.error:.1e}: data of that precision do not determine the solution to "
                f"{accuracy:.0e}."
            )
        if refinement is None:
            reasons.append(
                "Better conditioned is an equilibrated A (rv.precision.equilibrate), or one with a ridge, which has "
                "another solution (rv.precision.ridge_for_condition)."
            )
    else:
        below = [row for row in table[: table.index(chosen)] if row.in_range]
        reasons.append(
            f"{chosen.format}: kappa u = {chosen.error:.1e} is at most the accuracy asked for"
            + (f"; in {below[-1].format} it is {below[-1].error:.1e}." if below else ", and no format is cheaper.")
        )
    if refinement is not None:
        inner, working, residual = refinement
        error = next(row.error for row in table if row.format == inner)
        options = f'inner_precision="{inner}"' + ("" if working == "fp64" else f', working="{working}"')
        if residual == "fp128":
            options += ', residual="fp128", backward_error=0.0'
        reached = "solves A x = b, as A and b are stored, to the last digits" if chosen is None else "reaches the same"
        reasons.append(f"rv.refine(A, b, {options}) {reached}: kappa u = {error:.1e} <= 1 in {inner}.")
    return reasons
