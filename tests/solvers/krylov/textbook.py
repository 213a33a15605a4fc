"""The textbook in plain NumPy, against which iterations are counted: norms of true residuals, the first included."""

import numpy as np


def bicgstab(A, b, steps, M=lambda r: r):
    """van der Vorst (1992), section 3."""
    x, r = np.zeros_like(b), b.copy()
    shadow, p, rho = r.copy(), r.copy(), np.vdot(r, r)
    norms = [np.linalg.norm(b)]
    while len(norms) <= steps and norms[-1] > 1e-14 * norms[0]:
        p_hat = M(p)
        v = A @ p_hat
        alpha = rho / np.vdot(shadow, v)
        s = r - alpha * v
        s_hat = M(s)
        t = A @ s_hat
        omega = np.vdot(t, s) / np.vdot(t, t)
        x = x + alpha * p_hat + omega * s_hat
        r = s - omega * t
        before, rho = rho, np.vdot(shadow, r)
        p = r + rho / before * alpha / omega * (p - omega * v)
        norms.append(np.linalg.norm(b - A @ x))
    return np.array(norms)


def iterations(norms, rtol):
    """How many it takes."""
    return int(np.argmax(norms <= rtol * norms[0]))
