"""Parameters that the Lanczos process finds before systems are iterated: small ones by compiled calls, and stacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...backends.compiled.found import FOUND
from ...precision import precision_facts
from ..spectra.ritz import RitzValues
from ..spectra.stacked_lanczos import stacked_lanczos
from .method import LinearMethod, Search

__all__ = ["LOW", "Learning", "exponents_of", "states_of_stack"]

LOW, ROW_SUM = FOUND.index("low"), FOUND.index("row_sum")
FACTS = slice(LOW, None)  # what does not depend on the right-hand side


@cache
def _kernels() -> Any:
    """Imported when they are needed: that imports Numba and SciPy's LAPACK."""
    from ...backends.compiled import small_spectrum

    return small_spectrum


@dataclass(frozen=True, eq=False)
class Learning:
    """The search of a method, for systems of one size and precision.

    Attributes
    ----------
    method : LinearMethod
    search : Search
    scheme : callable
        From (method, its state without vectors) to what the kernels take.
    width : int
        Numbers of a scheme.
    limits, later : ndarray
        Those of the kernels, for the search and for what comes after it, when the facts of A are known.
    start : ndarray of shape (n,)
        Of the process.
    unit_roundoff : float
    """

    method: LinearMethod[Any]
    search: Search
    scheme: Callable[[Any, Any], Any]
    width: int
    limits: np.ndarray
    later: np.ndarray
    start: np.ndarray
    unit_roundoff: float

    @property
    def rows(self) -> int:
        """Of the Lanczos matrix, at most."""
        return min(self.search.steps, self.start.size)

    def one(self, arrays: Any, found: np.ndarray) -> tuple[np.ndarray, Any] | None:
        """The limits and the scheme of a system; None where the system is the driver's."""
        ends = np.empty(5)
        _kernels().learn(arrays, self.start, self.limits, self.rows, self.search.scaled, found, ends)
        scheme = self._fitted(found, ends)
        return None if scheme is None else (self.later, scheme)

    def each(
        self, backend: Any, stack: Any, matrices: int, work: int, which: np.ndarray, parts: Any, found: np.ndarray
    ) -> np.ndarray:
        """The numbers of a scheme for each system of a batch, NaN where it is the driver's; one row for one matrix.

        Parameters
        ----------
        backend, stack :
            The matrices as the backend's kernels take them.
        matrices, work : int
            How many there are, and what a product touches.
        which : ndarray of int
            The matrix of each system.
        parts : iterable of slice
            Of the matrices, as many as are to be looked at in a call.
        found : ndarray
            Gets what is found of each system.
        """
        kernel = backend.shared(_kernels().learn_all, work * matrices * self.rows)
        known, ends, numbers = np.zeros((matrices, len(FOUND))), np.full((matrices, 5), -1.0), np.arange(matrices)
        for part in parts:
            own = known[part], ends[part]
            kernel(stack, numbers[part], self.start, self.limits, self.rows, self.search.scaled, *own)
        unknown = [np.nan] * self.width
        schemes = np.array([self._fitted(*each) or unknown for each in zip(known, ends, strict=True)], float)
        found[:, FACTS] = known[which, FACTS]
        return schemes if matrices == 1 else schemes[which]

    def _fitted(self, found: np.ndarray, ends: np.ndarray) -> Any:
        """The scheme for these Ritz values; they are noted among what is found."""
        state = _state(self.method, found, ends, self.unit_roundoff)
        return None if state is None else self.scheme(self.method, state)


def _state(method: LinearMethod[Any], found: np.ndarray, ends: np.ndarray, unit_roundoff: float) -> Any:
    """The method's state without vectors for these Ritz values, which are noted; None where the system is the driver's.

    ``ends`` are those of ``small_spectrum.ritz``.
    """
    smallest, largest, low_error, high_error, rows = ends.tolist()
    known = None
    found[LOW : LOW + 3] = 0.0
    if rows > 0:
        ritz = RitzValues(smallest, largest, low_error, high_error)
        known = method.ends(ritz, float(found[ROW_SUM]), unit_roundoff)
        if known is not None:
            found[LOW], found[LOW + 1], found[LOW + 2] = *known, rows
    if rows < 0 or (rows > 0 and known is None):
        return None
    return method.state_without_vectors(1.0, True, known)


def states_of_stack(
    method: LinearMethod[Any], search: Search, backend: Any, matrices: Any, known: dict[str, Any], dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """The same for each matrix of a stack, iterated together.

    Parameters
    ----------
    matrices :
        With ``lead``, ``n``, ``product`` and ``diagonal``.
    known : dict of str to float or ndarray
        The facts of each.

    Returns
    -------
    states : ndarray of object, (*lead, 1)
    found : ndarray of float, (*lead, 1, 3)
        ``low``, ``high`` and ``learned``.
    """
    precision = precision_facts(dtype)
    u, shape = precision.unit_roundoff, (*matrices.lead, 1)
    found = np.zeros((*shape, len(FOUND)))
    at = {name: found[..., FOUND.index(name)] for name in known}
    for name, values in known.items():
        at[name][...] = values
    largest = at["max_abs"]
    sound = np.isfinite(largest) & (np.abs(exponents_of(largest)) <= precision.comfortable_exponent)
    sound &= at["empty_row"] < 0
    suited, inverse = sound, None
    if search.scaled:
        suited = sound & (at["asymmetry"] <= 1e3 * u * largest) & (at["diagonal_positive"] != 0)
        inverse = 1 / matrices.diagonal()
    start = np.random.default_rng(0).standard_normal(matrices.n).astype(dtype)
    begun = backend.from_numpy(np.broadcast_to(start, (*shape, matrices.n)).copy(), dtype)
    steps = min(search.steps, matrices.n)
    diagonal, off, rows = stacked_lanczos(
        backend, matrices.product, begun, steps, u, inverse, suited=suited, most=precision.largest_exponent - 1
    )
    ends = np.full((*shape, 5), -1.0)
    _kernels().ends_of_each(diagonal.reshape(-1, steps), off.reshape(-1, steps), rows.reshape(-1), ends.reshape(-1, 5))
    ends[sound & ~suited, 4] = 0.0
    states = np.empty(shape, object)
    for k in np.ndindex(*shape):
        states[k] = _state(method, found[k], ends[k], u)
    return states, found[..., LOW : LOW + 3]


def exponents_of(sizes: np.ndarray) -> np.ndarray:
    """The e with 2**e <= size < 2**(e + 1) of each; 0 for 0 and what is not finite."""
    return np.where((sizes > 0) & np.isfinite(sizes), np.frexp(np.where(np.isfinite(sizes), sizes, 1.0))[1] - 1, 0)
