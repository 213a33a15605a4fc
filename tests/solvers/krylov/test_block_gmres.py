import numpy as np
import pytest
import scipy.sparse as sparse

from resolvent import gallery
from resolvent.backends import backend_named
from resolvent.solvers.krylov.block_gmres import BlockGMRES

U = 2.0**-53


def flow(dtype=np.float64):
    A = sparse.csr_array(gallery.convection_diffusion((12, 12)).A, dtype=dtype)
    return A * (1 + 0.5j) if np.dtype(dtype).kind == "c" else A


def begun(backend, A, B, restart=30):
    backend = backend_named(backend)
    product = backend.product_each(backend.operator(A))
    return BlockGMRES(restart, backend, product, None, U, np.zeros_like(B), B.copy())


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_each_residual_is_the_smallest_of_the_sum_of_all_krylov_spaces(dtype):
    A, rng = flow(dtype), np.random.default_rng(0)
    B = rng.standard_normal((3, 144)).astype(dtype)
    block, powers = begun("numpy", A, B), [B.T]
    for _ in range(6):
        norms = block.step()
        space = np.linalg.qr(np.concatenate(powers, axis=1))[0]
        smallest = np.linalg.norm(B.T - (A @ space) @ np.linalg.lstsq(A @ space, B.T)[0], axis=0)
        np.testing.assert_allclose(norms, smallest, rtol=1e-9)
        true = B.T - A @ np.array(block.formed([0, 1, 2])).T
        np.testing.assert_allclose(norms, np.linalg.norm(true, axis=0), rtol=1e-9)
        powers.append(A @ np.linalg.qr(powers[-1])[0])


def test_the_compiled_passes_follow_the_textbook_iterate_by_iterate():
    A, B = flow(), np.random.default_rng(1).standard_normal((5, 144))
    B[4] = B[0] + B[1]
    textbook, compiled = begun("numpy", A, B), begun("numba", A, B)
    assert textbook.width == compiled.width == 4
    for _ in range(10):
        np.testing.assert_allclose(compiled.step(), textbook.step(), rtol=1e-9)
    np.testing.assert_allclose(compiled.formed([2, 4]), textbook.formed([2, 4]), rtol=1e-8, atol=1e-10)


def test_directions_that_depend_on_those_before_are_dropped_and_the_cycle_ends():
    # The first column is an eigenvector, the others are solved in three steps.
    A = np.diag(np.repeat([1.0, 2.0, 3.0], 5))
    B = np.random.default_rng(2).standard_normal((3, 15))
    B[0] = np.eye(15)[0]
    block = begun("numpy", A, B)
    widths = [block.width]
    while not block.cycle_ended:
        norms = block.step()
        widths.append(block.width)
    assert widths == [3, 2, 2, 0]
    assert (norms < 1e-13).all()
    np.testing.assert_allclose(block.formed([0, 1, 2]), B / A.diagonal(), atol=1e-12)


def test_a_basis_begun_anew_goes_on_from_its_iterates():
    A, B = flow(), np.random.default_rng(3).standard_normal((2, 144))
    block = begun("numpy", A, B, restart=4)
    last = np.linalg.norm(B, axis=1)
    for _ in range(5):
        while not block.cycle_ended:
            norms = block.step()
            assert (norms <= last * (1 + 1e-12)).all()
            last = norms
        block.take()
        R = B.T - A @ block.X.T
        np.testing.assert_allclose(np.linalg.norm(R, axis=0), last, rtol=1e-8)
        block.begin(np.ascontiguousarray(R.T))
