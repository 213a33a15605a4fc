"""What cannot be computed on a device is refused in words that say what to install, or how to convert."""

import importlib.util

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv

from .. import host_cupy

A = np.diag([4.0, 3.0, 2.0])
B = np.ones(3)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy():
    with pytest.raises(rv.BackendError, match=r"^backend: 'cupy' .*not installed.*resolvent\[cuda12\] or .*cuda13\]"):
        rv.cg(A, B, backend="cupy")


@pytest.mark.parametrize("found", [lambda: False, lambda: 1 / 0], ids=["none", "no driver"])
def test_without_a_device(found, cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda, "is_available", found)
    with pytest.raises(rv.BackendError, match=r"^backend: 'cupy' .*no CUDA device.*driver.*NumPy arrays") as caught:
        rv.cg(A, B, backend="cupy")
    assert "install resolvent" not in str(caught.value)


MIXED = {
    "b on the host": (lambda cupy: (cupy.asarray(A), B, {})),
    "A on the host": (lambda cupy: (A, cupy.asarray(B), {})),
    "x0 on the host": (lambda cupy: (cupy.asarray(A), cupy.asarray(B), {"x0": B})),
    "a sparse A on the host": (lambda cupy: (scipy.sparse.csr_matrix(A), cupy.asarray(B), {})),
}


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("solve", [rv.solve, rv.cg])
def test_host_and_device_arrays(case, solve, cupy):
    matrix, b, options = MIXED[case](cupy)
    with pytest.raises(rv.BackendError, match=r"A, b and x0 come from cupy and numpy; .*cupy\.asarray\(.*\.get\(\)"):
        solve(matrix, b, **options)


def test_a_preconditioner_on_the_host(cupy):
    there = cupy.asarray(A), cupy.asarray(B)
    for M, how in ((np.diag(1 / np.diag(A)), r"cupy\.asarray\(M\)"), (scipy.sparse.eye(3), r"csr_matrix\(M\)")):
        with pytest.raises(rv.BackendError, match=rf"^M: found .*{how}"):
            rv.cg(*there, M=M)


def test_host_arrays_on_the_backend_of_the_device(cupy):
    with pytest.raises(rv.BackendError, match="'cupy' works on cupy arrays, but the system is given in numpy"):
        rv.cg(A, B, backend="cupy")
    with pytest.raises(rv.BackendError, match="'numba' works on numpy arrays, but the system is given in cupy"):
        rv.cg(cupy.asarray(A), cupy.asarray(B), backend="numba")


def test_two_devices(cupy, monkeypatch):
    monkeypatch.setattr(host_cupy.Device, "count", 2)
    here = cupy.asarray(A)
    with cupy.cuda.Device(1):
        there, matrix = cupy.asarray(B), cupy.asarray(A)
    wanted = r"lie on <CUDA Device 0> and <CUDA Device 1>, and the current device is <CUDA Device 0>; move them"
    with pytest.raises(rv.BackendError, match=wanted):
        rv.cg(here, there)
    with pytest.raises(rv.BackendError, match=r"lie on <CUDA Device 1>, and the current device is <CUDA Device 0>"):
        rv.cg(matrix, there)
    with cupy.cuda.Device(1):
        assert rv.cg(matrix, there).converged
