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


def gmres(A, b, steps, restart, M=lambda r: r):
    """Saad (2003), algorithm 9.5: modified Gram-Schmidt, least squares by NumPy; M from the right."""
    x, norms = np.zeros_like(b), [np.linalg.norm(b)]
    while len(norms) <= steps and norms[-1] > 1e-14 * norms[0]:
        r = b - A @ x
        V, H = [r / np.linalg.norm(r)], np.zeros((restart + 1, restart), b.dtype)
        for k in range(min(restart, steps + 1 - len(norms))):
            w = A @ M(V[k])
            for j in range(k + 1):
                H[j, k] = np.vdot(V[j], w)
                w = w - H[j, k] * V[j]
            H[k + 1, k] = np.linalg.norm(w)
            V.append(w / H[k + 1, k])
            y = np.linalg.lstsq(H[: k + 2, : k + 1], np.linalg.norm(r) * np.eye(k + 2)[0], rcond=None)[0]
            new = x + M(np.array(V[: k + 1]).T @ y)
            norms.append(np.linalg.norm(b - A @ new))
        x = new
    return np.array(norms)


def idrs(A, b, steps, P, M=lambda r: r):
    """van Gijzen & Sonneveld (2011), figure 2; P has the shadows as rows."""
    s, x, r = len(P), np.zeros_like(b), b.copy()
    U, G, products, omega = (
        np.zeros((b.size, s), b.dtype),
        np.zeros((b.size, s), b.dtype),
        np.eye(s, dtype=b.dtype),
        1.0,
    )
    norms = [np.linalg.norm(b)]
    while len(norms) <= steps and norms[-1] > 1e-14 * norms[0]:
        f = P.conj() @ r
        for k in range(s):
            c = np.linalg.solve(products[k:, k:], f[k:])
            U[:, k] = U[:, k:] @ c + omega * M(r - G[:, k:] @ c)
            G[:, k] = A @ U[:, k]
            for i in range(k):
                alpha = np.vdot(P[i], G[:, k]) / products[i, i]
                G[:, k] -= alpha * G[:, i]
                U[:, k] -= alpha * U[:, i]
            products[k:, k] = P[k:].conj() @ G[:, k]
            beta = f[k] / products[k, k]
            r = r - beta * G[:, k]
            x = x + beta * U[:, k]
            norms.append(np.linalg.norm(b - A @ x))
            f[k + 1 :] -= beta * products[k + 1 :, k]
        v = M(r)
        t = A @ v
        omega = np.vdot(t, r) / np.vdot(t, t)
        cosine = abs(np.vdot(t, r)) / np.linalg.norm(t) / np.linalg.norm(r)
        omega *= max(1.0, 0.7 / cosine)
        x, r = x + omega * v, r - omega * t
        norms.append(np.linalg.norm(b - A @ x))
    return np.array(norms)


def iterations(norms, rtol):
    """How many it takes."""
    return int(np.argmax(norms <= rtol * norms[0]))
