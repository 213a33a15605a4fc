from functools import partial

import numpy as np
import pytest
import scipy.sparse as sparse

from resolvent import gallery
from resolvent.backends import backend_named
from resolvent.operators import Diagonals
from resolvent.solvers.driver.method import Breakdown
from resolvent.solvers.krylov.block_cg import BlockCG

U = 2.0**-53


def scaled_poisson(side=16):
    """A 5-point Laplacian between diagonals that vary tenfold."""
    scale = sparse.diags_array(np.random.default_rng(0).uniform(0.3, 3, side * side))
    return sparse.csr_array(scale @ gallery.poisson((side, side)).A @ scale)


def begun(backend, A, B, M=None):
    backend = backend_named(backend)
    precondition = None if M is None else partial(backend.multiply, M)
    product = backend.product_each(backend.operator(A))
    return BlockCG(backend, product, precondition, U, np.zeros_like(B), B.copy())


def oleary(A, B, M, steps):
    """Residual norms of O'Leary's algorithm, by columns."""
    X, R = np.zeros_like(B), B.copy()
    Z = M[:, None] * R
    P, norms = Z, []
    for _ in range(steps):
        Q = A @ P
        alpha = np.linalg.solve(P.conj().T @ Q, R.conj().T @ Z)
        before = R.conj().T @ Z
        X, R = X + P @ alpha, R - Q @ alpha
        Z = M[:, None] * R
        P = Z + P @ np.linalg.solve(before, R.conj().T @ Z)
        norms.append(np.linalg.norm(R, axis=0))
    return np.array(norms)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_its_iterates_are_those_of_olearys_algorithm(preconditioned, dtype):
    A = scaled_poisson()
    rng = np.random.default_rng(1)
    B = rng.standard_normal((256, 4)).astype(dtype)
    if dtype is np.complex128:
        B += 1j * rng.standard_normal((256, 4))
        phase = sparse.diags_array(np.exp(1j * rng.uniform(0, 6, 256)))
        A = sparse.csr_array(phase @ A @ phase.conj())
    M = 1 / A.diagonal() if preconditioned else None
    block = begun("numpy", A, np.ascontiguousarray(B.T), M)
    found = np.array([block.step() for _ in range(12)])
    np.testing.assert_allclose(found, oleary(A, B, np.ones(256) if M is None else M, 12), rtol=1e-9)
    true = np.linalg.norm(B - A @ block.X.T, axis=0)
    np.testing.assert_allclose(found[-1], true, rtol=1e-10)


@pytest.mark.parametrize("storage", ["csr", "bands", "symmetric bands", "dense"])
def test_the_compiled_passes_follow_the_textbook_iterate_by_iterate(storage):
    A = scaled_poisson()
    offsets = np.array([0, 1, 16, -1, -16])
    data = np.zeros((5, 256))
    for d, offset in enumerate(offsets):
        data[d, max(0, -offset) : 256 - max(0, offset)] = A.diagonal(offset)
    stored = {
        "csr": lambda: A,
        "bands": lambda: Diagonals(data, offsets),
        "symmetric bands": lambda: Diagonals(data[:3], offsets[:3], True),
        "dense": A.toarray,
    }[storage]()
    B = np.random.default_rng(2).standard_normal((7, 256))
    B[3] = B[0] - 2 * B[1]
    blocks = [
        begun(backend, A if backend == "numpy" else stored, B, 1 / A.diagonal()) for backend in ("numpy", "numba")
    ]
    assert [block.width for block in blocks] == [6, 6]
    for _ in range(15):
        textbook, compiled = (block.step() for block in blocks)
        np.testing.assert_allclose(compiled, textbook, rtol=1e-9)
        np.testing.assert_allclose(blocks[1].X, blocks[0].X, rtol=1e-8, atol=1e-12 * np.abs(blocks[0].X).max())


def test_a_block_takes_fewer_iterations_and_becomes_smaller_with_its_columns():
    A = scaled_poisson()
    B = np.random.default_rng(3).standard_normal((8, 256))
    norms = np.linalg.norm(B, axis=1)
    counts = []
    for columns in (1, 8):
        block, count = begun("numpy", A, B[:columns].copy(), 1 / A.diagonal()), 1
        while not (block.step() <= 1e-10 * norms[:columns]).all():
            count += 1
        counts.append(count)
    assert counts[1] < 0.7 * counts[0]

    block = begun("numpy", A, B, 1 / A.diagonal())
    for _ in range(10):
        block.step()
    block.keep([1, 5, 6])
    kept = [block.step() for _ in range(60)][-1]
    assert block.width <= 3
    assert (kept <= 1e-10 * norms[[1, 5, 6]]).all()
    np.testing.assert_allclose(A @ block.X.T, B[[1, 5, 6]].T, atol=1e-8)


def test_an_indefinite_matrix_or_a_product_that_is_not_finite_breaks_it_down():
    B = np.random.default_rng(4).standard_normal((2, 30))
    indefinite = begun("numpy", np.diag(np.r_[-1.0, np.ones(29)]), 10 * np.eye(30)[:2] + B)
    with pytest.raises(Breakdown):
        BlockCG.step(indefinite)
    with pytest.raises(Breakdown):
        BlockCG(backend_named("numpy"), lambda S, out: np.full_like(S, np.nan), None, U, 0 * B, B.copy()).step()
    with pytest.raises(Breakdown):
        begun("numpy", np.eye(30), B, -np.ones(30))
