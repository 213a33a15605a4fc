"""The parts of the chunk-wise form, each against what defines it."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resolvent.layers.recurrence.layout import Decay, Layout, inner
from resolvent.layers.regression.grams import Grams
from resolvent.layers.regression.solving import (
    chebyshev,
    condition_number,
    conjugate_gradients,
    exact,
    steps_for,
    upper_end,
)
from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def product_with(A):
    """A callable as the solvers want it, for matrices (..., n, n)."""
    return lambda p, out: out.copy_((A @ p.unsqueeze(-1)).squeeze(-1))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 2))
def test_split_and_join_are_inverse_and_keep_sequences_apart(lengths, size, seed):
    layout, total = Layout(lengths, size, torch.device("cpu")), sum(lengths)
    x = randn(1, total, 2, 3, seed=seed)
    chunks = layout.split(x)
    assert chunks.shape == (sum(-(-n // size) for n in lengths), 2, size, 3) == (layout.chunks, 2, size, 3)
    assert torch.equal(layout.join(chunks, x.shape), x)
    assert torch.isclose(chunks.abs().sum(), x.abs().sum())  # the rest is zeros


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5))
def test_the_table_holds_the_tokens_of_each_chunk(lengths, size):
    layout = Layout(lengths, size, torch.device("cpu"))
    starts, wanted, chunks = [sum(lengths[:i]) for i in range(len(lengths))], [], [0]
    for start, length in zip(starts, lengths, strict=True):
        wanted += [[start + t, start + min(t + size, length)] for t in range(0, length, size)]
        chunks.append(len(wanted))
    assert layout.table.tolist() == wanted
    assert layout.sequences.tolist() == chunks


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.booleans())
def test_a_scan_is_the_recurrence(lengths, reverse):
    layout = Layout(lengths, 2, torch.device("cpu"))
    increments, decay = randn(layout.chunks, 2, 3, 4), torch.rand(layout.chunks, 2, dtype=F64)
    initial = randn(len(lengths), 2, 3, 4, seed=1)
    before, final, first = torch.empty_like(increments), initial.clone(), 0
    for s, length in enumerate(lengths):
        count = -(-length // 2)
        order = range(first, first + count)
        for c in reversed(order) if reverse else order:
            before[c] = final[s]
            final[s] = decay[c][:, None, None] * final[s] + increments[c]
        first += count
    found = increments.clone()
    torch.testing.assert_close(layout.scan(found, decay, initial, reverse), final, atol=1e-13, rtol=0)
    torch.testing.assert_close(found, before, atol=1e-13, rtol=0)


def test_groups_cover_all_chunks():
    layout = Layout([1000, 30], 16, torch.device("cpu"))
    for heads, dimension in ((1, 4), (8, 128), (64, 512)):
        parts = list(layout.groups(heads, dimension))
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(65))


def test_inner_products_of_states():
    a, b = randn(3, 2, 4, 5), randn(3, 2, 4, 5, seed=1)
    torch.testing.assert_close(inner(a, b), (a * b).sum((-2, -1)), atol=1e-13, rtol=0)


@pytest.mark.parametrize("lowest", [0.0, -1e-4, -2.0, -20.0, -100.0, -math.inf])
def test_decay_is_the_product_of_the_gates(lowest):
    gates = torch.rand(2, 3, 16, dtype=F64, generator=torch.Generator().manual_seed(0)).mul_(-1)
    gates[:, :, [3, 4, 11]] = lowest
    decay, factors = Decay(gates), gates.exp()
    for t in range(16):
        wanted = torch.stack([factors[..., j + 1 : t + 1].prod(-1) for j in range(t + 1)], -1)
        torch.testing.assert_close(decay.within[..., t, : t + 1], wanted, atol=1e-300, rtol=1e-12)
        torch.testing.assert_close(
            decay.since_start[..., t, 0], factors[..., : t + 1].prod(-1), atol=1e-300, rtol=1e-12
        )
        torch.testing.assert_close(decay.to_end[..., t, 0], factors[..., t + 1 :].prod(-1), atol=1e-300, rtol=1e-12)
    assert decay.within.triu(1).abs().max() == 0
    torch.testing.assert_close(decay.whole, factors.prod(-1), atol=1e-300, rtol=1e-12)


def test_single_precision_decay_is_accurate_over_long_chunks():
    gates = -5 * torch.rand(1, 1, 64, dtype=F64, generator=torch.Generator().manual_seed(0))
    single, double = Decay(gates.float()), Decay(gates.float().double())
    # The exponent is rounded once, so that the relative error is its size times a unit roundoff, not that of the sums.
    allowed = 2.0**-23 * (1 - double.within.clamp_min(1e-300).log()) * double.within + 1e-37
    assert ((single.within - double.within).abs() <= allowed).all()


@pytest.mark.parametrize("size", [1.0, 1e-8, 1e6])
def test_grams_are_the_matrices_that_they_stand_for(size):
    keys, gates = size * randn(2, 3, 8, 5), -torch.rand(2, 3, 8, dtype=F64)
    root = size * randn(2, 3, 5, 5, seed=2)
    before = root @ root.mT
    grams = Grams(keys, gates, before)
    H, matrices = before, []
    for t in range(8):
        H = gates[..., t, None, None].exp() * H + keys[:, :, t, :, None] * keys[:, :, t, None, :]
        matrices.append(H)
    H = torch.stack(matrices, 2)
    torch.testing.assert_close(grams.dense(), H, atol=1e-13 * size**2, rtol=0)
    norm, trace = grams.norms()
    torch.testing.assert_close(norm, torch.linalg.matrix_norm(H), atol=0, rtol=1e-13)
    torch.testing.assert_close(trace, H.diagonal(dim1=-2, dim2=-1).sum(-1), atol=0, rtol=1e-13)
    x = randn(2, 3, 8, 5, seed=3)
    wanted = (H @ x.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(grams.product(x, torch.empty_like(x)), wanted, atol=1e-12 * size**2, rtol=0)


def test_norms_in_single_precision_neither_underflow_nor_overflow():
    keys = randn(1, 1, 8, 5).float()
    zero, gates = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 8)
    norm, trace = Grams(keys, gates, zero).norms()
    for size in (1e-12, 1e12):
        scaled = Grams(size * keys, gates, zero).norms()
        torch.testing.assert_close(scaled[0], size**2 * norm, atol=0, rtol=1e-6)
        torch.testing.assert_close(scaled[1], size**2 * trace, atol=0, rtol=1e-6)
    assert all(fact.abs().max() == 0 for fact in Grams(0 * keys, gates, zero).norms())


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 100), st.sampled_from([1e-12, 1.0, 1e9]))
def test_both_intervals_hold_the_spectrum(order, count, seed, size):
    keys = size * np.random.default_rng(seed).standard_normal((count, order))
    H = keys.T @ keys
    eigenvalues = np.linalg.eigvalsh(H)
    norm, trace = np.linalg.norm(H), np.trace(H)
    frobenius = upper_end(norm, trace, 0.0, order, "frobenius")
    tight = upper_end(norm, trace, 0.0, order, "wolkowicz_styan")
    assert eigenvalues[-1] <= tight <= 1.0401 * frobenius
    assert eigenvalues[-1] <= frobenius * (1 + 1e-14)
    assert tight >= 1.039 * eigenvalues[-1]  # the guard is all there where the bound is sharp


def test_the_condition_of_nothing_is_one():
    lower, upper = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 51.0])
    assert condition_number(lower, upper).tolist() == [1, 51]


def test_first_iterates_by_hand():
    """omega_0 = 2: xi_1 = omega_1 xi_0 - omega_1 s (A xi_0 - q), omega_1 = 2 / (2 - rho^2)."""
    A, q = torch.diag(torch.tensor([0.5, 1.0, 2.5], dtype=F64)), torch.tensor([1.0, -2.0, 3.0], dtype=F64)
    lower, upper = torch.tensor(0.5, dtype=F64), torch.tensor(2.5, dtype=F64)
    s, rho = 2 / 3.0, 2 / 3.0
    w1 = 2 / (2 - rho**2)
    w2 = 4 / (4 - rho**2 * w1)
    xi0 = s * q
    xi1 = w1 * xi0 - w1 * s * (A @ xi0 - q)
    xi2 = xi1 + (w2 - 1) * (xi1 - xi0) - s * w2 * (A @ xi1 - q)
    for steps, wanted in enumerate((xi0, xi1, xi2)):
        found = chebyshev(product_with(A), q, lower, upper, torch.tensor(steps, dtype=torch.int32))
        torch.testing.assert_close(found.x, wanted, atol=1e-15, rtol=0)
        assert int(found.iterations) == steps


def test_weights_go_to_their_limit():
    rho = 1 / 1.04
    *_, (beta, _) = islice(chebyshev_coefficients(0.02, 1.02), 200)
    assert 1 + beta == pytest.approx(2 * (1 - math.sqrt(1 - rho**2)) / rho**2, rel=1e-14)


@pytest.mark.parametrize("ridge", [1e-3, 0.01, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("steps", [0, 1, 5, 10, 30, 60])
def test_residuals_obey_the_bound_and_it_is_sharp(ridge, steps):
    """2 c^{r+1} / (1 + c^{2r+2}), c = (sqrt(kappa) - 1) / (sqrt(kappa) + 1), at the best and worst eigenvalues."""
    kappa = 1 + 1 / ridge
    c = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    bound = 2 * c ** (steps + 1) / (1 + c ** (2 * steps + 2))
    eigenvalues = torch.linspace(ridge, 1 + ridge, 400, dtype=F64)
    lower, upper = torch.full((400,), ridge, dtype=F64), torch.full((400,), 1 + ridge, dtype=F64)
    x = chebyshev(
        lambda p, out: torch.mul(eigenvalues[:, None], p, out=out),
        torch.ones(400, 1, dtype=F64),
        lower,
        upper,
        torch.full((400,), steps, dtype=torch.int32),
    ).x
    residuals = (1 - eigenvalues * x[:, 0]).abs()
    assert residuals.max() <= bound + 1e-12
    assert residuals[0] == pytest.approx(bound, rel=1e-6, abs=1e-12)


@given(st.floats(1.001, 1e4), st.floats(1e-12, 0.5))
def test_as_many_steps_as_the_tolerance_needs(kappa, rtol):
    steps = int(steps_for(torch.tensor(kappa, dtype=F64), rtol))
    c = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)

    def bound(r):
        return 2 * c ** (r + 1) / (1 + c ** (2 * r + 2))

    assert bound(steps) <= rtol * (1 + 1e-9)
    assert steps == 0 or bound(steps - 1) >= rtol * (1 - 1e-9)


def systems(seed=0, count=6, n=8):
    """Positive definite matrices whose conditions differ, and the ends of their spectra."""
    Q, _ = torch.linalg.qr(randn(count, n, n, seed=seed))
    largest = torch.logspace(0, 3, count, dtype=F64)
    places = torch.rand(count, n, dtype=F64, generator=torch.Generator().manual_seed(seed))
    eigenvalues = 1 + (largest[:, None] - 1) * places
    return Q @ torch.diag_embed(eigenvalues) @ Q.mT, torch.ones(count, dtype=F64), largest


@pytest.mark.parametrize("rtol", [1e-2, 1e-6, 1e-10])
def test_every_system_gets_its_own_steps(rtol):
    A, lower, upper = systems()
    rhs = randn(6, 8, seed=1)
    steps = steps_for(condition_number(lower, upper), rtol)
    assert len(set(steps.tolist())) == 6
    together = chebyshev(product_with(A), rhs, lower, upper, steps)
    for i in range(6):
        alone = chebyshev(product_with(A[i]), rhs[i], lower[i], upper[i], steps[i])
        torch.testing.assert_close(together.x[i], alone.x, atol=1e-13, rtol=0)
    cg = conjugate_gradients(product_with(A), rhs, lower, 100, rtol)
    for x in (together.x, cg.x):
        error = torch.linalg.norm(rhs - (A @ x.unsqueeze(-1)).squeeze(-1), dim=-1) / torch.linalg.norm(rhs, dim=-1)
        assert error.max() <= rtol * (1 + 1e-3)
    assert cg.iterations.max() <= 12
    assert cg.iterations.min() >= 1


@pytest.mark.parametrize("size", [1e-150, 1e-8, 1.0, 1e100])
def test_conjugate_gradients_scale_with_the_right_hand_side(size):
    A, lower, _ = systems()
    rhs = randn(6, 8, seed=1)
    one, scaled = (conjugate_gradients(product_with(A), factor * rhs, lower, 100, 1e-8) for factor in (1.0, size))
    torch.testing.assert_close(scaled.x / size, one.x, atol=0, rtol=1e-10)
    assert torch.equal(scaled.iterations, one.iterations)


def test_conjugate_gradients_stand_still_once_done():
    A, lower, _ = systems()
    rhs = randn(6, 8, seed=1)
    rhs[2] = 0
    found = conjugate_gradients(product_with(A), rhs, lower, 1000, 0.0)
    wanted = torch.linalg.solve(A, rhs)
    assert found.x.isfinite().all()
    assert found.x[2].abs().max() == 0
    assert found.iterations[2] == 0
    torch.testing.assert_close(found.x, wanted, atol=1e-12, rtol=0)


def test_solvers_give_zero_for_a_zero_matrix():
    rhs, zero = randn(2, 4), torch.zeros(2, dtype=F64)
    nothing = torch.zeros(2, 4, 4, dtype=F64)
    steps = torch.full((2,), 5, dtype=torch.int32)
    assert chebyshev(product_with(nothing), rhs, zero, zero, steps).x.abs().max() == 0
    assert conjugate_gradients(product_with(nothing), rhs, zero, 5, 1e-3).x.abs().max() == 0
    assert exact(nothing.clone(), rhs, zero.unsqueeze(-1).expand_as(rhs)).x.abs().max() == 0


def test_exact_is_a_solve():
    A, _, _ = systems()
    rhs, shift = randn(6, 8, seed=1), torch.rand(6, dtype=F64)
    wanted = torch.linalg.solve(A + torch.diag_embed(shift[:, None].expand(6, 8)), rhs)
    torch.testing.assert_close(exact(A.clone(), rhs, shift.unsqueeze(-1).expand_as(rhs)).x, wanted, atol=1e-13, rtol=0)
