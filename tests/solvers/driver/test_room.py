"""Vectors that do not fit are refused before any of them is made."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver import room


@pytest.fixture
def little(monkeypatch):
    monkeypatch.setattr(room, "ASKED_FROM", 0.0)
    monkeypatch.setattr(room, "available_memory", lambda: 8.0 * 100 * 20)


def system(n=100):
    return np.diag(np.linspace(1, 2, n)) + 0.1 * np.eye(n, k=1), np.ones(n)


def test_a_basis_that_does_not_fit_is_refused(little):
    A, b = system()
    with pytest.raises(MemoryError, match=r"^gmres keeps .* GiB"):
        rv.gmres(A, b, restart=30, callback=lambda _: None)  # which small systems are not solved at once with
    assert rv.gmres(A, b, restart=10).converged
    assert rv.bicgstab(A, b).converged
    with pytest.raises(MemoryError, match="idrs"):
        rv.idrs(A, b, s=8)


def test_a_choice_goes_past_what_does_not_fit(little):
    A = rv.as_operator(lambda x: np.roll(x, 1), (100, 100))
    b = np.zeros(100)
    b[0] = 1.0
    with pytest.warns(rv.ConvergenceWarning, match="gmres keeps"):
        solution = rv.solve(A, b, rtol=1e-10)
    assert not solution.converged


def test_what_is_free_is_known_on_linux():
    assert room.available_memory() > 2.0**20
    room.check_memory(1.0, "nobody")
    if np.isfinite(room.available_memory()):
        with pytest.raises(MemoryError, match="somebody keeps"):
            room.check_memory(2.0**60, "somebody")
