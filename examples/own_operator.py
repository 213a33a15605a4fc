"""A matrix that is never stored, and a callback that decides when it is enough.

Anything with ``shape``, ``dtype`` and a product will do.
"""

import warnings

import numpy as np

import resolvent as rv


class PeriodicSmoother:
    """I - c d²/dx² on a circle of n points, by fast Fourier transform."""

    def __init__(self, n: int, c: float) -> None:
        self.shape, self.dtype = (n, n), np.dtype(np.float64)
        self.symbol = 1 + c * np.fft.rfftfreq(n, 1 / n) ** 2

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.fft.irfft(self.symbol * np.fft.rfft(x), self.shape[0])


A = PeriodicSmoother(1000, 0.01)
t = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
b = np.sign(np.sin(3 * t)) + 0.1 * np.random.default_rng(0).standard_normal(1000)


def enough(progress: rv.Progress) -> bool:
    """Look at every tenth iteration, and stop where the residual is below the noise in b."""
    if progress.iteration % 10 == 0:
        print(progress)
    return progress.relative_residual < 1e-2


with warnings.catch_warnings():
    warnings.simplefilter("ignore", rv.ConvergenceWarning)  # stopping early is meant here
    solution = rv.cg(A, b, rtol=1e-10, callback=enough)
print()
print(solution)

exact = np.fft.irfft(np.fft.rfft(b) / A.symbol, 1000)
print(f"\nerror against the exact inverse: {np.linalg.norm(solution.x - exact) / np.linalg.norm(exact):.1e}")
