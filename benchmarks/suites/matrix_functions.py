"""Matrix functions by products against SciPy's, at equal accuracy; float32, condition 100."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import resolvent as rv

from . import measure

N = 512
CONDITION = 100.0


def spectrum(n: int, count: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal Q and P, (..., n, n), and n singular values from 1 down to one over the condition."""
    rng = np.random.default_rng(seed)
    shape = (count, n, n) if count else (n, n)
    Q, P = (np.linalg.qr(rng.standard_normal(shape))[0] for _ in range(2))
    return Q, P, np.logspace(0, -np.log10(CONDITION), n)


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest relative distance in the Frobenius norm."""
    off = np.linalg.norm(found.astype(np.float64) - wanted, axis=(-2, -1))
    return float(np.max(off / np.linalg.norm(wanted, axis=(-2, -1))))


class Against:
    """A function of ours against SciPy's, of one matrix or of a loop over a stack."""

    accuracy = 1e-2
    calls: dict[str, Callable[[], Any]]

    def compare(self, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], wanted: np.ndarray) -> None:
        """Keep both calls; both are as accurate as is claimed."""
        for found in (ours(), theirs()):
            if not distance(found, wanted) <= self.accuracy:
                raise RuntimeError(f"the error is {distance(found, wanted)}, above {self.accuracy}")
        self.calls = {"other": theirs, "ours": ours}

    def times(self, seconds: float = 5.0) -> dict[str, measure.Times]:
        """A call of each."""
        return measure.call_times(self.calls, seconds)

    def ratio(self) -> float:
        """SciPy's time over ours."""
        found = self.times()
        return measure.ratio(found["other"], found["ours"])[0]


class Polar(Against):
    """U of one matrix of order 512, and of 256 of order 64 against a loop."""

    params = (["one", "stack"],)
    param_names = ("what",)

    def setup(self, what: str) -> None:
        """Matrices whose polar factors are known."""
        Q, P, values = spectrum(N) if what == "one" else spectrum(64, 256)
        A = ((Q * values) @ P).astype(np.float32)
        how = {"rtol": 1e-2, "lower": 1 / CONDITION, "scaling": "power"}
        theirs = scipy.linalg.polar
        self.compare(
            lambda: rv.polar(A, **how).U,
            (lambda: theirs(A)[0]) if what == "one" else (lambda: np.array([theirs(each)[0] for each in A])),
            Q @ P,
        )

    def track_against_scipy(self, what: str) -> float:
        """``scipy.linalg.polar`` over ours."""
        return self.ratio()

    track_against_scipy.unit = "times faster"  # type: ignore[attr-defined]


class SquareRoot(Against):
    """The square root of a matrix of order 512, and its inverse, against ``sqrtm`` and against eigenvectors."""

    params = (["sqrtm", "invsqrtm"], ["sqrtm", "eigh"])
    param_names = ("function", "other")
    accuracy = 1e-4

    def setup(self, function: str, other: str) -> None:
        """A positive definite matrix whose roots are known."""
        Q, _, values = spectrum(N)
        A = (Q * values) @ Q.T
        A = ((A + A.T) / 2).astype(np.float32)
        power = 0.5 if function == "sqrtm" else -0.5

        def by_eigenvectors() -> np.ndarray:
            eigenvalues, V = np.linalg.eigh(A)
            return (V * eigenvalues**power) @ V.T

        def by_scipy() -> np.ndarray:
            root = scipy.linalg.sqrtm(A)
            return root if power > 0 else np.linalg.inv(root)

        ours = getattr(rv, function)
        self.compare(
            lambda: ours(A, rtol=1e-5, lower=1 / CONDITION).x,
            by_scipy if other == "sqrtm" else by_eigenvectors,
            (Q * values**power) @ Q.T,
        )

    def track_time(self, function: str, other: str) -> float:
        """The other's time over ours."""
        return self.ratio()

    track_time.unit = "times faster"  # type: ignore[attr-defined]
