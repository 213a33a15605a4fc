"""What is solved by tests that make up their systems: matrices of every kind, and what of them the caller owns."""

import numpy as np
import scipy.sparse as sparse


def spd(rng, n, dtype):
    G = random(rng, (n, n), dtype)
    return hermitian_part(G @ G.conj().T + 0.1 * np.eye(n)).astype(dtype)


def random(rng, shape, dtype):
    G = rng.standard_normal(shape)
    return (G + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else G).astype(dtype)


def hermitian_part(G):
    """Exactly Hermitian, to the bit."""
    return (
        np.tril(G) + np.tril(G, -1).conj().T - 1j * np.diag(G.diagonal().imag)
        if G.dtype.kind == "c"
        else (np.tril(G) + np.tril(G, -1).T)
    )


def laplacian(n, dtype):
    """Of a path: singular, positive semidefinite."""
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    if n:
        A[0, 0] -= 1
        A[-1, -1] -= 1
    return A.astype(dtype)


def matrix(kind, rng, n, dtype):
    span = 150 if np.finfo(dtype).maxexp > 200 else 15
    match kind:
        case "spd":
            return spd(rng, n, dtype)
        case "negative":
            return -spd(rng, n, dtype)
        case "indefinite":
            return hermitian_part(random(rng, (n, n), dtype)).astype(dtype)
        case "plus_minus":
            return np.diag(rng.choice([-1.0, 1.0], n)).astype(dtype)
        case "singular":
            return laplacian(n, dtype)
        case "rank_one":
            v = random(rng, n, dtype)
            return hermitian_part(np.outer(v, v.conj())).astype(dtype)
        case "zero":
            return np.zeros((n, n), dtype)
        case "nonsymmetric":
            return random(rng, (n, n), dtype)
        case "dominant":
            G = random(rng, (n, n), dtype)
            return (G + 2 * np.diag(np.abs(G).sum(axis=1) + 0.1)).astype(dtype)
        case "skew":
            G = random(rng, (n, n), dtype)
            return (G - G.T).astype(dtype)
        case "lower":
            return np.tril(random(rng, (n, n), dtype)) + 2 * np.eye(n, dtype=dtype)
        case "upper":
            return np.triu(random(rng, (n, n), dtype)) + 2 * np.eye(n, dtype=dtype)
        case "diagonal":
            return np.diag(rng.uniform(0.5, 2, n)).astype(dtype)
        case "zero_row":
            A = spd(rng, n, dtype)
            A[n // 2 :][:1] = 0
            if rng.integers(2):
                A[:, n // 2 :][:, :1] = 0
            return A
        case "zero_diagonal":
            A = spd(rng, n, dtype)
            A[n // 2 :][:1, n // 2 :][:, :1] = 0
            return A
        case "graded":
            d = 10.0 ** rng.uniform(-span / 2, span / 2, n)
            return hermitian_part(d[:, None] * spd(rng, n, dtype) * d).astype(dtype)
        case "wild":
            return (random(rng, (n, n), dtype) * 10.0 ** rng.uniform(-span, span, (n, n))).astype(dtype)
        case "huge":
            return (spd(rng, n, dtype) * 10.0 ** (2 * span)).astype(dtype)
        case "tiny":
            return (spd(rng, n, dtype) * 10.0 ** (-2 * span)).astype(dtype)
        case "integer":
            G = rng.integers(-3, 4, (n, n))
            return G @ G.T + np.eye(n, dtype=np.int64)
        case "boolean":
            return rng.integers(0, 2, (n, n)).astype(bool) | np.eye(n, dtype=bool)
        case "half":
            return (np.eye(n) * 4 - np.eye(n, k=1) - np.eye(n, k=-1)).astype(np.float16)
        case "nan":
            A = spd(rng, n, dtype)
            A[n // 2, 0] = np.nan
            return A
        case "infinite":
            A = spd(rng, n, dtype)
            A[0, n // 2] = -np.inf
            return A
    raise AssertionError(kind)


GOOD = ("spd", "diagonal", "dominant", "lower", "upper", "integer", "half", "huge", "tiny")
BAD = (
    "negative", "indefinite", "plus_minus", "singular", "rank_one", "zero", "nonsymmetric", "skew", "zero_row",
    "zero_diagonal", "graded", "wild", "boolean", "nan", "infinite",
)  # fmt: skip


def held(thing):
    """The bytes of everything reachable that the caller owns."""
    if isinstance(thing, np.ndarray):
        return thing.tobytes()
    if isinstance(thing, list):
        return repr(thing)
    if sparse.issparse(thing):
        if thing.format == "lil":
            return repr((thing.rows.tolist(), thing.data.tolist()))
        if thing.format == "dok":
            return repr(sorted(thing.items()))
        names = ("data", "indices", "indptr", "row", "col", "coords", "offsets")
        parts = [getattr(thing, name, None) for name in names]
        return [np.asarray(part).tobytes() for part in parts if part is not None]
    return None
