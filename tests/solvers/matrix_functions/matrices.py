"""Matrices with known singular values and eigenvalues."""

import numpy as np


def orthonormal(rng, m, n, dtype=np.float64):
    A = rng.standard_normal((m, n))
    if np.dtype(dtype).kind == "c":
        A = A + 1j * rng.standard_normal((m, n))
    return np.linalg.qr(A)[0]


def with_singular_values(values, m=None, seed=0, dtype=np.float64):
    """A and its polar factor."""
    rng, n = np.random.default_rng(seed), len(values)
    left, right = orthonormal(rng, m or n, n, dtype), orthonormal(rng, n, n, dtype)
    return (left * values) @ right.conj().T, left @ right.conj().T


def hermitian(values, seed=0, dtype=np.float64):
    """A with these eigenvalues, and a function from f to f(A)."""
    Q = orthonormal(np.random.default_rng(seed), len(values), len(values), dtype)

    def of(f):
        result = (Q * f(np.asarray(values))) @ Q.conj().T
        return (result + result.conj().T) / 2

    return of(lambda w: w), of


def log_spectrum(n, condition):
    return np.logspace(0, -np.log10(condition), n)


def off(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
