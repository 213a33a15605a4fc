"""Fused passes over vectors on the device, held to the reference backend's compositions."""

import importlib

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends.block import Block

from .. import cuda_on_host, host_cupy

PLAIN = rv.backends.backend_named("numpy")


@pytest.fixture
def backend(cupy):
    """The backend, whose arrays are those of ``cupy``."""
    return rv.backends.backend_named("cupy")


def vectors(count, n=300, dtype="float64"):
    return list(np.random.default_rng(4).standard_normal((count, n)).astype(dtype))


# name: (what it is given, "v" for a vector; what it changes)
UPDATES = {
    "cg_update": (0.75, "v", "v", "v", "v"),
    "bicgstab_update": (0.75, "v", -1.5, "v", "v", "v", "v", "v"),
    "dot_and_square": ("v", "v"),
    "lsmr_update": (0.5, "v", -2.0, "v", 0.25, "v", 3.0, "v"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("name", UPDATES)
def test_updates_and_their_sums(name, dtype, backend, cupy):
    host = iter(vectors(8, dtype="float64"))
    given = [next(host).astype(dtype) if part == "v" else part for part in UPDATES[name]]
    if dtype == "complex128":
        given = [part * (1 + 0.5j) if isinstance(part, np.ndarray) else part for part in given]
    there = [cupy.asarray(part) if isinstance(part, np.ndarray) else part for part in given]
    found, wanted = getattr(backend, name)(*there), getattr(PLAIN, name)(*given)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(found, wanted, strict=True):
        if isinstance(other, np.ndarray):
            np.testing.assert_allclose(one.get(), other, rtol=0, atol=10 * rtol)
        else:
            assert one == pytest.approx(other, rel=100 * rtol)
    for one, other in zip(there, given, strict=True):  # what is changed, and what is not
        if isinstance(other, np.ndarray):
            np.testing.assert_allclose(one.get(), other, rtol=0, atol=10 * rtol)


def test_the_residual_may_be_the_second_direction(backend, cupy):
    p, s, t, shadow, x = vectors(5)
    given = 0.75, p, -1.5, s, t, shadow, x, s
    there = [cupy.asarray(part) if isinstance(part, np.ndarray) else part for part in given]
    there[3] = there[7]
    *found, rho, norm = backend.bicgstab_update(*there)
    *wanted, rho_too, norm_too = PLAIN.bicgstab_update(*given)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.get(), other, rtol=0, atol=1e-13)
    assert (rho, norm) == pytest.approx((rho_too, norm_too))


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("count", [1, 7, 8, 19])
@pytest.mark.parametrize("kind", ["block", "list"])
def test_blocks(kind, count, dtype, backend, cupy):
    host = vectors(count + 1, dtype=dtype)
    if dtype == "complex128":
        host = [v * np.exp(1j * np.arange(v.size)) for v in host]
    w = host.pop()
    if kind == "block":
        V = backend.basis(count, w.size, w.dtype)
        for k, v in enumerate(host):
            V[k] = backend.assign(cupy.asarray(v), V[k])
    else:
        V = [cupy.asarray(v) for v in host]
    y = np.linspace(-1, 2, count)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    stacked = np.stack(host)
    np.testing.assert_allclose(backend.dots(V, cupy.asarray(w)), stacked.conj() @ w, rtol=0, atol=100 * rtol)
    np.testing.assert_allclose(backend.add_block(V, y, cupy.asarray(w)).get(), w + y @ stacked, rtol=0, atol=30 * rtol)
    unset = cupy.asarray(np.full_like(w, np.nan))
    if dtype != "complex128":
        np.testing.assert_allclose(backend.combine(V, y, unset).get(), y @ stacked, rtol=0, atol=30 * rtol)


def test_sums_of_blocks_are_taken_in_double(backend, cupy):
    """Of numbers in single precision whose sum cancels to what single precision cannot see."""
    v, ones = np.full(600, 1.0, "float32"), np.ones(600, "float32")
    v[0], v[1] = 3e8, -3e8 - 32
    assert backend.dots([cupy.asarray(v)], cupy.asarray(ones))[0] == float(v.astype(float).sum())
    assert backend.dot_and_square(cupy.asarray(v), cupy.asarray(ones))[0] == float(v.astype(float).sum())


@pytest.mark.parametrize("k", [1, 2, 9])
@pytest.mark.parametrize("case", ["ordinary", "cancels", "dependent"])
def test_orthogonal_to_a_block(case, k, backend, cupy):
    rng = np.random.default_rng(k)
    basis = np.linalg.qr(rng.standard_normal((300, k + 1)))[0].T.copy()
    new = {"ordinary": 1.0, "cancels": 1e-6, "dependent": 0.0}[case] * basis[k] + rng.standard_normal(k) @ basis[:k]
    V, W = backend.basis(k + 1, 300, np.float64), PLAIN.basis(k + 1, 300, np.float64)
    for j, v in enumerate([*basis[:k], new]):
        V[j], W[j] = backend.assign(cupy.asarray(v), V[j]), PLAIN.assign(v, W[j])
    before = host_cupy.SEEN.synchronisations
    h, rest = backend.orthogonalise(V, k, 2.0**-53)
    waited = host_cupy.SEEN.synchronisations - before
    wanted, rest_too = PLAIN.orthogonalise(W, k, 2.0**-53)
    np.testing.assert_allclose(h, wanted, rtol=0, atol=1e-14)
    assert rest == pytest.approx(rest_too, rel=1e-8, abs=1e-20)
    if rest:
        along = np.array([V[j].get() @ V[k].get() for j in range(k)]) / rest
        assert np.abs(along).max() < 1e-9 if case == "cancels" else np.abs(along).max() < 1e-14
    if case == "ordinary" and rest > 0.8 * np.linalg.norm(new):
        assert waited == 1


def test_a_block_in_any_order_of_threads(backend, cupy, monkeypatch):
    host = vectors(11)
    V, w = Block([cupy.asarray(v) for v in host[:-1]]), cupy.asarray(host[-1])
    found = backend.dots(V, w)
    monkeypatch.setattr(cuda_on_host.Module, "backwards", True)
    np.testing.assert_array_equal(backend.dots(V, w), found)
    monkeypatch.setattr(importlib.import_module("resolvent.gpu.cupy.passes"), "BLOCK_BLOCKS", 1)
    np.testing.assert_allclose(backend.dots(V, w), found, rtol=0, atol=1e-12)
