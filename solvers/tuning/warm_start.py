"""First guesses out of earlier solutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ...naming import choice
from ..linear.system import LinearSystem

__all__ = ["WARM_STARTS", "WarmStart"]

WARM_STARTS = ("previous", "extrapolate", "subspace")
MOST = 6  # earlier solutions that span the subspace; as many products with A a system
PATIENCE = 64  # systems at most that are not given a guess after guesses turned out to be worse than zero


class WarmStart:
    """Keeps the latest solutions and makes a guess of them.

    ``"previous"`` is the last solution x_1, ``"extrapolate"`` 2 x_1 - x_2, ``"subspace"`` the combination of the latest
    six solutions whose residual is smallest: six products with A. Where a guess had a larger residual than zero has,
    none is made for the next systems, first one, then two, four, ...

    References
    ----------
    Fischer (1998), "Projection techniques for iterative solution of Ax = b with successive right-hand sides", for the
    subspace.
    """

    def __init__(self, kind: str | None) -> None:
        self.kind = None if kind is None else choice("warm_start", kind, WARM_STARTS, more=", or None")
        self.solutions: list[Any] = []  # the latest first, shape (n,)
        self._pause, self._skip = 0, 0
        self._made = False

    def guess(self, system: LinearSystem) -> Any:
        """A first guess of shape (n,) in the caller's units, not to be written to, or None."""
        self._made = False
        exact, library = system.backend.exact, type(system.true_rhs)
        if library is not np.ndarray:  # as it may be after loading
            self.solutions = [exact.from_numpy(x, x.dtype) if type(x) is np.ndarray else x for x in self.solutions]
        kept = [x for x in self.solutions if x.shape[0] == system.n and type(x) is library]
        if self.kind is None or not kept:
            return None
        if self._skip > 0:
            self._skip -= 1
            return None
        self._made = True
        if self.kind == "subspace" and len(kept) > 1:
            return self._least_residual(system, kept)
        if self.kind == "extrapolate" and len(kept) > 1:
            last, before = (exact.copy(x, system.true_dtype) for x in kept)
            return exact.axpby(-1.0, before, 2.0, last)
        return kept[0]

    def _least_residual(self, system: LinearSystem, kept: list[Any]) -> Any:
        """V y with || b - A V y || smallest; the columns of A V made orthonormal by Gram and Schmidt, twice."""
        backend = system.backend.exact
        shift = system.exponent - system.matrix_exponent
        basis: list[Any] = []
        images: list[Any] = []
        guess, rest = None, backend.copy(system.true_rhs, system.true_dtype)
        for solution in kept:
            v = backend.ldexp(backend.copy(solution, system.true_dtype), -shift)
            q = backend.matvec(system.truth, v, backend.zeros(system.n, system.true_dtype))
            system.matvecs += 1
            size = backend.norm(q)
            for _ in range(2):
                for u, p in zip(basis, images, strict=True):
                    part = -backend.dot(p, q)
                    q, v = backend.axpby(part, p, 1.0, q), backend.axpby(part, u, 1.0, v)
            length = backend.norm(q)
            if not length > 1e-8 * size:
                continue  # within the span of the others
            q, v = backend.axpby(0.0, q, 1 / length, q), backend.axpby(0.0, v, 1 / length, v)
            basis.append(v)
            images.append(q)
            part = backend.dot(q, rest)
            rest = backend.axpby(-part, q, 1.0, rest)
            guess = (
                backend.axpby(part, v, 0.0, backend.copy(v)) if guess is None else backend.axpby(part, v, 1.0, guess)
            )
        return None if guess is None else backend.ldexp(guess, shift)

    def keep(self, x: Any, first_residual: float, rhs_norm: float) -> None:
        """Remember a solution of shape (n,), and whether the guess that was made for it was of use."""
        if self.kind is None:
            return
        if self._made:
            useless = not first_residual < rhs_norm
            self._pause = min(2 * self._pause, PATIENCE) or 1 if useless else 0
            self._skip = self._pause
        self.solutions = [x, *self.solutions][: MOST if self.kind == "subspace" else 2]

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """What is JSON-able, and the solutions."""
        return {"kind": self.kind, "pause": self._pause, "skip": self._skip}, self.solutions

    def load(self, state: dict[str, Any], solutions: list[np.ndarray]) -> None:
        """The inverse of ``state``."""
        if state["kind"] != self.kind:
            raise InputError(f"state: was saved with warm_start={state['kind']!r}; this has {self.kind!r}")
        self._pause, self._skip = int(state["pause"]), int(state["skip"])
        self.solutions = list(solutions)
