"""Monotone problems with known constants."""

from typing import NamedTuple

import numpy as np
import pytest


class Affine(NamedTuple):
    """F(z) = A (z - z*), with L = ||A|| and R = ||z* - 0||."""

    A: np.ndarray
    zero: np.ndarray

    def __call__(self, z):
        return self.A @ (z - self.zero)

    @property
    def lipschitz(self):
        return float(np.linalg.norm(self.A, 2))

    @property
    def distance(self):
        return float(np.linalg.norm(self.zero))


def affine(seed, n=20, strong=0.0, rank=3, dtype=np.float64):
    """Skew, plus a positive semidefinite part of this rank, plus ``strong`` times the identity."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        x = rng.standard_normal(shape)
        return x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x

    B, P = normal(n, n), normal(n, rank)
    A = (B - B.conj().T) / 2 + 0.05 * P @ P.conj().T + strong * np.eye(n)
    return Affine(A.astype(dtype), normal(n).astype(dtype))


@pytest.fixture(name="affine")
def make_affine():
    """The function that makes one."""
    return affine


@pytest.fixture
def residuals():
    """||F(z_k)||, k = 0, 1, ..., of rv.extragradient, which may go on for all of ``maxiter`` iterations."""
    import warnings

    import resolvent as rv

    def found(F, z0, maxiter, **keywords):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rv.ConvergenceWarning)
            return rv.extragradient(F, z0, maxiter=maxiter, rtol=0, **keywords).residual_norms

    return found


def bilinear(z):
    """(y, -x), the gradients of x y: L = 1, and the zero is 0."""
    return np.array([z[1], -z[0]])


@pytest.fixture(name="bilinear")
def make_bilinear():
    """It."""
    return bilinear
