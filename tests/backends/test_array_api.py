"""What is the generic path's own: only the standard, nothing written in place, devices kept."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends import backend_named, choose_backend

xp = pytest.importorskip("array_api_strict")


def system(dtype="float64", device="CPU_DEVICE", n=10):
    rng = np.random.default_rng(3)
    B = rng.standard_normal((n, n))
    A, b = B @ B.T / n + 2 * np.eye(n), rng.standard_normal(n)
    place = xp.Device(device)
    return tuple(xp.asarray(x.astype(dtype), device=place) for x in (A, b))


def host(x):
    return np.from_dlpack(x)


@pytest.mark.parametrize("method", rv.METHODS)
@pytest.mark.parametrize("device", ["device1", "device2", "no_float64", "no_x64"])
def test_everything_stays_on_its_device(method, device):
    dtype = "float32" if device.startswith("no_") else "float64"
    A, b = system(dtype, device)
    solution = rv.solve(A, b, method=method, rtol=1e-5)
    assert solution.converged
    assert solution.x.device == b.device
    assert solution.x.dtype == b.dtype
    np.testing.assert_allclose(host(solution.x), np.linalg.solve(host(A), host(b)), rtol=1e-3, atol=1e-4)


def test_devices_are_not_mixed():
    A, b = system(device="device1")
    elsewhere = xp.asarray(host(b).copy(), device=xp.Device("device2"))
    with pytest.raises(rv.BackendError, match="move them to one device"):
        rv.cg(A, elsewhere)
    with pytest.raises(rv.BackendError, match="M: lies on"):
        rv.cg(A, b, M=xp.asarray(np.eye(10)))


def test_no_array_is_written_to(monkeypatch):
    """Immutable arrays would do: an assignment is an error here."""

    def refuse(*arguments):
        raise AssertionError("written in place")

    for name in ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"):
        monkeypatch.setattr(type(xp.ones(1)), name, refuse)
    A, b = system()
    for method in rv.METHODS:
        assert rv.solve(A, b, x0=b, method=method, rtol=1e-9).converged
    for M in (
        rv.precondition.jacobi(A),
        rv.precondition.ssor(A),
        rv.precondition.polynomial(A),
        xp.asarray(np.eye(10)),
    ):
        assert rv.cg(A, b, M=M, rtol=1e-9).converged


def test_older_revisions_of_the_standard_will_do():
    A, b = system()
    for version in ("2023.12", "2024.12"):
        with xp.ArrayAPIStrictFlags(api_version=version):
            for method in ("cg", "chebyshev", "richardson", "jacobi"):
                assert rv.solve(A, b, method=method, rtol=1e-9).converged


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool"])
def test_integers_are_carried_in_double(dtype):
    A, b = xp.asarray(np.array([[4, 1], [1, 3]])), xp.asarray(np.array([1, 0]).astype(dtype))
    solution = rv.cg(A, b, rtol=1e-12)
    assert solution.x.dtype == xp.float64
    np.testing.assert_allclose(host(solution.x), [3 / 11, -1 / 11])


def test_callables_must_return_arrays_of_the_library():
    A, b = system()

    class ThroughNumpy:
        shape, dtype = (10, 10), xp.float64

        def __call__(self, x):
            return host(A) @ host(x)

    with pytest.raises(rv.BackendError, match="A: "):
        rv.cg(ThroughNumpy(), b)


def test_without_an_array_there_is_no_library():
    with pytest.raises(rv.BackendError, match="array_api"):
        backend_named("array_api").zeros(3, "float64")


def test_the_registered_backend_is_not_bound():
    A, b = system(device="device1")
    bound = choose_backend(None, A, b)
    assert bound is not backend_named("array_api")
    assert bound.zeros(2, np.dtype("float32")).device == b.device
    assert backend_named("array_api").device is None


def test_accurate_residual_block_by_block(monkeypatch):
    import resolvent.backends.array_api_backend as module

    A, b = system("float32")
    x = xp.linalg.solve(A, b)
    exact = host(b).astype(float) - host(A).astype(float) @ host(x).astype(float)
    monkeypatch.setattr(module, "BLOCK", 30)
    backend = choose_backend(None, A)
    found = backend.accurate_residual(backend.operator(A), x, b, b)
    np.testing.assert_allclose(host(found), exact, rtol=1e-6)


def test_empty_system():
    solution = rv.cg(xp.zeros((0, 0)), xp.zeros(0))
    assert solution.converged
    assert tuple(solution.x.shape) == (0,)
