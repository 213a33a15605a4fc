"""A backend whose vectors are spread over processes provides its reductions, and nothing else: all methods follow.

Threads stand for processes; they meet at a communicator that counts. A sum, norm or maximum that did not go through the
backend would differ between them, and they would part.
"""

import threading

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends.numpy_backend import NumpyBackend
from resolvent.solvers.driver.status import Status

PROCESSES = 3


class Communicator:
    """Sums and maxima over threads that all call it in the same order."""

    def __init__(self, processes):
        self.barrier = threading.Barrier(processes, timeout=30)
        self.values = [None] * processes
        self.counts = [0] * processes

    def gathered(self, rank, value):
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found

    def agreed(self, rank, value, operation):
        self.counts[rank] += 1
        return operation(self.gathered(rank, value))


class Distributed(NumpyBackend):
    """NumPy's operations on the local rows."""

    def __init__(self, communicator, rank, lengths):
        self.communicator, self.number, self.lengths = communicator, rank, lengths

    def total(self, value):
        return self.communicator.agreed(self.number, value, sum)

    def greatest(self, value):
        return float(self.communicator.agreed(self.number, value, np.max))

    def local_length(self, n):
        return self.lengths[self.number]

    @property
    def rank(self):
        return self.number

    def clock(self):
        """That of the first process; those of the others are hours apart."""
        return self.communicator.gathered(self.number, super().clock() + 1e4 * self.number)[0]


def spread(run, n):
    """``run(backend, rows, product)`` in every process; product makes a local operator of a global matrix."""
    parts = np.array_split(np.arange(n), PROCESSES)
    communicator = Communicator(PROCESSES)
    results, errors = [None] * PROCESSES, []

    def process(rank):
        backend = Distributed(communicator, rank, [part.size for part in parts])
        rows = parts[rank]

        def product(matrix):
            def multiply(x):
                return matrix[rows] @ np.concatenate(communicator.gathered(rank, np.array(x)))

            multiply.shape, multiply.dtype = matrix.shape, matrix.dtype
            return multiply

        try:
            results[rank] = run(backend, rows, product)
        except BaseException as error:
            errors.append(error)
            communicator.barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if real or errors:
        raise (real or errors)[0]
    return results, communicator


def problem():
    made = rv.gallery.poisson((9, 8))
    return made.A.tocsr() if hasattr(made.A, "tocsr") else made.A, np.random.default_rng(0).standard_normal(72)


METHODS = [
    ("cg", {}, False),
    ("cg", {}, True),
    ("cg", {"flexible": True}, True),
    ("chebyshev", {}, False),
    ("chebyshev", {}, True),
    ("richardson", {}, False),
    ("richardson", {"accelerate": {"depth": 30}}, True),
]


@pytest.mark.parametrize(("method", "parameters", "preconditioned"), METHODS)
def test_processes_agree_with_one(method, parameters, preconditioned):
    A, b = problem()
    n = b.size
    scale = 1 / np.linspace(1, 3, n)
    scaled = A.multiply(np.sqrt(np.outer(1 / scale, 1 / scale))).tocsr()  # a diagonal that M = D^-1 takes away

    def run(backend, rows, product):
        M = None
        if preconditioned:

            def M(r):
                return scale[rows] * r

            M.shape, M.dtype = A.shape, A.dtype
        x0 = 0.1 * np.cos(rows)
        return getattr(rv, method)(product(scaled), b[rows], x0=x0, M=M, rtol=1e-9, backend=backend, **parameters)

    solutions, communicator = spread(run, n)
    assert {s.status for s in solutions} == {Status.CONVERGED}
    assert len({s.iterations for s in solutions}) == 1
    assert len({tuple(s.residual_norms) for s in solutions}) == 1  # the same bits everywhere
    assert len({s.relative_residual for s in solutions}) == 1
    assert len({s.backward_error for s in solutions}) == 1
    assert len(set(communicator.counts)) == 1
    x = np.concatenate([s.x for s in solutions])
    assert np.linalg.norm(b - scaled @ x) <= 1.0001e-9 * np.linalg.norm(b)


def test_an_iteration_communicates_as_often_as_the_method_declares():
    A, b = problem()

    def communications(maxiter):
        with pytest.warns(rv.ConvergenceWarning):
            return spread(
                lambda backend, rows, product: rv.cg(product(A), b[rows], maxiter=maxiter, backend=backend), 72
            )

    counts = [communications(maxiter)[1].counts[0] for maxiter in (6, 16)]
    assert counts[1] - counts[0] == 10 * rv.METHODS["cg"].traffic.reductions


def test_block_products_are_one_communication():
    def run(backend, rows, product):
        V = [np.cos(k * rows) for k in range(5)]
        before = backend.communicator.counts[backend.rank]
        found = backend.dots(V, np.sin(rows + 1.0))
        return found, backend.communicator.counts[backend.rank] - before, backend.norms(*V)

    results, _ = spread(run, 20)
    everywhere = np.arange(20)
    for found, communications, norms in results:
        assert communications == 1
        np.testing.assert_allclose(
            found, [np.cos(k * everywhere) @ np.sin(everywhere + 1.0) for k in range(5)], rtol=1e-13
        )
        np.testing.assert_allclose(norms, [np.linalg.norm(np.cos(k * everywhere)) for k in range(5)], rtol=1e-14)


def test_a_time_limit_ends_all_processes_together():
    A, b = problem()

    with pytest.warns(rv.ConvergenceWarning):
        solutions, _ = spread(
            lambda backend, rows, product: rv.cg(
                product(A), b[rows], rtol=1e-12, time_limit=1e-9, backend=backend, callback=lambda progress: None
            ),
            72,
        )
    assert {s.status for s in solutions} == {Status.TIME_LIMIT}
    assert len({s.iterations for s in solutions}) == 1


def test_condition_numbers_agree():
    A, _ = problem()

    def run(backend, rows, product):
        return rv.condition_number(product(A), backend=backend)

    results, _ = spread(run, 72)
    values = np.linalg.eigvalsh(A.toarray())
    assert len({(found.estimate, found.lower, found.upper) for found in results}) == 1
    assert results[0].lower <= values[-1] / values[0] * (1 + 1e-9) <= results[0].upper * (1 + 1e-9)
