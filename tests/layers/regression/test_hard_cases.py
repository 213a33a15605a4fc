"""What published implementations get wrong, or say nothing about: zeros, gates, scales, packing, continuation."""

import math
from itertools import pairwise

import numba
import pytest

torch = pytest.importorskip("torch")

from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.solving import GUARD, chebyshev, conjugate_gradients  # noqa: E402

FAST = [("chunk", "chebyshev"), ("chunk", "cg"), ("compiled", "chebyshev"), ("compiled", "cg")]
ALL = [*FAST, ("chunk", "exact"), ("recurrent", "exact"), ("recurrent", "cg")]
fast = pytest.mark.parametrize(("form", "solver"), FAST)
every = pytest.mark.parametrize(("form", "solver"), ALL)


def exactly(*tokens, **options):
    return gated_kalmanet(*tokens, solver="exact", form="recurrent", **options)[0]


def tightly(*tokens, form, solver, rtol=1e-13, **options):
    how = {} if solver == "exact" else {"rtol": rtol}
    return gated_kalmanet(*tokens, form=form, solver=solver, **how, **options)


def largest_difference(found, wanted):
    """Over the largest entry of what is wanted; NaN where there is one."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def solutions(q, k, **options):
    """x_t: the output for values of zero, with the identity in U's place."""
    batch, _, heads, D = q.shape
    state = q.new_zeros(batch, heads, D, D), torch.eye(D, dtype=q.dtype).expand(batch, heads, D, D)
    return gated_kalmanet(q, k, torch.zeros_like(q), initial_state=state, scale=1.0, **options)


def units(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def residual_bound(ridge_ratio, steps):
    """1 / cosh((r + 1) t) in the published form."""
    root = math.sqrt(1 + 1 / ridge_ratio)
    contraction = (root - 1) / (root + 1)
    return 2 * contraction ** (steps + 1) / (1 + contraction ** (2 * steps + 2))


# --- conditioning and zero ---


@every
def test_nothing_seen(draw, form, solver):
    """Zero keys: x = 0, so that what is left is the share of the query; later tokens are not harmed."""
    q, k, v, g, gk, alpha = draw(2, 30)
    k[:, :10] = 0
    k[1] = 0
    o, (H, U), info = tightly(
        q, k, v, g, gk, form=form, solver=solver, output_final_state=True, return_info=True
    )  # fmt: skip
    assert torch.equal(o[:, :10], torch.zeros_like(o[:, :10]))
    assert not any(part[1].any() for part in (o, H, U))
    assert not info.relative_residual[1].any()
    assert (info.condition[1] == 1).all()
    later = exactly(q[:1, 10:], k[:1, 10:], v[:1, 10:], g[:1, 10:], gk[:1, 10:])
    assert largest_difference(o[:1, 10:], later) < 1e-11
    state = torch.zeros(2, 2, 8, 8, dtype=torch.float64), torch.ones(2, 2, 8, 8, dtype=torch.float64)
    o = tightly(q, k, v, g, gk, alpha, form=form, solver=solver, initial_state=state, scale=1.0)[0]
    mixed = ((1 - alpha).unsqueeze(-1) * q).sum(-1) * g.cumsum(1).exp()
    torch.testing.assert_close(o[1], mixed[1].unsqueeze(-1).expand_as(o[1]), rtol=1e-13, atol=1e-13)


@every
def test_zero_queries(draw, form, solver):
    q, k, v, g, gk, _ = draw(1, 30)
    q[:, 3] = 0
    o, _, info = tightly(q, k, v, g, gk, form=form, solver=solver, return_info=True)
    assert not any(part[:, 3].any() for part in (o, info.relative_residual))
    assert largest_difference(o, exactly(q, k, v, g, gk)) < 1e-11


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
@pytest.mark.parametrize("ridge_ratio", [1e-3, 0.01, 0.02, 0.1, 1])
def test_residual_obeys_its_bound(form, ridge_ratio):
    """First of all for the first token, whose matrix has the condition number 1 + 1 / ridge_ratio."""
    q, k = units(2, 1, 40, 4, 16)
    for steps in (1, 5, 30):
        _, _, info = solutions(
            q, k, ridge_ratio=ridge_ratio, solver="paper", num_iter=steps, form=form, return_info=True
        )
        assert info.relative_residual.max() <= residual_bound(ridge_ratio, steps) + 1e-12
        first = info.condition[:, 0]
        torch.testing.assert_close(first, torch.full_like(first, 1 + 1 / ridge_ratio), rtol=1e-12, atol=0)


def test_published_bounds():
    published = {0: 0.962, 5: 0.356, 10: 0.0898, 20: 5.4e-3, 30: 3.2e-4, 40: 1.9e-5, 60: 6.8e-8}
    for steps, level in published.items():
        assert residual_bound(0.02, steps) == pytest.approx(level, rel=0.02)


@pytest.mark.parametrize(("form", "solver"), [("chunk", "chebyshev"), ("compiled", "chebyshev")])
def test_first_token_in_16_bits(draw, form, solver):
    q, k = units(2, 1, 1, 64, 32)
    low = [part.to(torch.bfloat16) for part in (q, k)]
    x, _, info = solutions(*low, form=form, solver="paper", num_iter=30, return_info=True)
    assert x.isfinite().all()
    assert info.relative_residual.max() < 3.5e-4


@fast
def test_one_key_again_and_again(form, solver):
    q, k = units(2, 1, 1, 1, 16)
    q, k = q.expand(1, 2048, 1, 16), k.expand(1, 2048, 1, 16)
    x, _, info = solutions(q, k, form=form, solver=solver, rtol=1e-10, return_info=True)
    t = torch.arange(1, 2049, dtype=torch.float64)[None, :, None, None]
    along = (q * k).sum(-1, keepdim=True) * k
    wanted = along / (1.02 * t) + (q - along) / (0.02 * t)
    assert largest_difference(t * x, t * wanted) < 1e-9
    assert info.relative_residual.max() <= 1e-10
    torch.testing.assert_close(info.condition, torch.full_like(info.condition, 1 + GUARD / 0.02), rtol=1e-7, atol=0)


@fast
@pytest.mark.parametrize("case", ["close", "shared", "anisotropic"])
def test_ill_conditioned_keys(form, solver, case):
    q, k = units(2, 1, 100, 2, 16)
    if case == "close":  # two directions, of a cosine of 1 - 1e-6
        angle = math.acos(1 - 1e-6)
        other = k[:, :1] - (k[:, :1] * k[:, 1:2]).sum(-1, keepdim=True) * k[:, 1:2]
        other = torch.nn.functional.normalize(other, dim=-1)
        k = torch.cat([k[:, 1:2], math.cos(angle) * k[:, 1:2] + math.sin(angle) * other], 1).repeat(1, 50, 1, 1)
    elif case == "shared":
        k = torch.nn.functional.normalize(k + k[:, :1], dim=-1)
    else:
        k = k * torch.logspace(0, -3, 16, dtype=torch.float64)  # squares in H: 1 to 1e-6
    x, _, info = solutions(q, k, form=form, solver=solver, rtol=1e-12, return_info=True)
    assert largest_difference(x, solutions(q, k, form="recurrent", solver="exact")[0]) < 1e-10
    assert info.relative_residual.max() <= 1.5e-12


@pytest.mark.parametrize(
    ("too_small", "level"), [(0, 3.2e-4), (1e-3, 1.2e-3), (4e-3, 8e-3), (1e-2, 0.081), (3e-2, 8.2)]
)
def test_interval_that_is_too_small(too_small, level):
    """Residuals after 30 steps where ||H||_F = 1 is found too small: as published without a guard, harmless with it."""
    norm = torch.tensor([1 - too_small], dtype=torch.float64)
    shift = 0.02 * norm
    H, b = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(1, 8, dtype=torch.float64)
    H[0, 0] = b[0, 0] = 1
    steps = torch.tensor([30], dtype=torch.int32)

    def residual(guard):
        def product(p, out):
            return torch.add(p @ H, shift * p, out=out)

        x = chebyshev(product, b, shift, shift + guard * norm, steps).x
        return (b - product(x, torch.empty_like(x))).norm().item()

    assert residual(1.0) == pytest.approx(level, rel=0.1)
    assert residual(GUARD) <= 3.8e-4


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
def test_first_iterates(form):
    """Of the recurrence written out, with omega_0 = 2 (0, as once printed, gives another x_1)."""
    q, k = units(2, 1, 1, 1, 3)
    A = k[0, 0].mT @ k[0, 0] + 0.02 * torch.eye(3, dtype=torch.float64)
    b = q[0, 0, 0]
    s, rho = 2 / 1.04, 1 / 1.04
    omega_1 = 2 / (2 - rho**2)
    omega_2 = 4 / (4 - rho**2 * omega_1)
    x_0 = s * b
    x_1 = omega_1 * x_0 - s * omega_1 * (A @ x_0 - b)
    x_2 = omega_2 * x_1 - (omega_2 - 1) * x_0 - s * omega_2 * (A @ x_1 - b)
    for steps, wanted in ((1, x_1), (2, x_2)):
        x, _ = solutions(q, k, solver="paper", num_iter=steps, form=form)
        torch.testing.assert_close(x[0, 0, 0], wanted, rtol=0, atol=1e-13 * wanted.abs().max())


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
def test_conjugate_gradients_stand_still_when_done(form):
    q, k = units(2, 1, 20, 2, 8)
    short = solutions(q, k, solver="cg", num_iter=25, form=form)[0]
    x, _, info = solutions(q, k, solver="cg", num_iter=75, form=form, return_info=True)
    assert x.isfinite().all()
    assert largest_difference(x, short) < 1e-13
    assert info.iterations.max() <= 25
    _, _, info = solutions(q, k, solver="cg", rtol=1e-8, form=form, return_info=True)
    assert (info.iterations[:, 0] <= 2).all()  # one eigenvalue and the ridge


@every
@pytest.mark.parametrize("factor", [1e4, 1e-8, 1e-30])
def test_scale_of_the_query(form, solver, factor):
    """x is linear in q; in float32, where squares of the smallest would be zero."""
    q, k = (part.float() for part in units(2, 1, 30, 2, 16))
    how = {} if solver == "exact" else {"rtol": 1e-5}
    wanted, _ = solutions(q, k, form=form, solver=solver, **how)
    x, _, info = solutions(q * factor, k, form=form, solver=solver, return_info=True, **how)
    assert largest_difference(x.double() / factor, wanted.double()) < 2e-4
    assert info.relative_residual.max() < 2e-5


@every
@pytest.mark.parametrize("factor", [1e4, 1e-6, 1e-11, 1e11])
def test_scale_of_the_keys(form, solver, factor):
    """x is homogeneous of degree -2 in the keys, also where squares of H leave the range of float32."""
    q, k = (part.float() for part in units(2, 1, 30, 2, 16))
    how = {} if solver == "exact" else {"rtol": 1e-5}
    wanted, _ = solutions(q, k, form=form, solver=solver, **how)
    x, _, info = solutions(q, k * factor, form=form, solver=solver, return_info=True, **how)
    assert largest_difference(x.double() * factor**2, wanted.double()) < 2e-4
    assert info.relative_residual.max() < 2e-5


def test_cg_of_tiny_right_hand_sides():
    A = torch.diag(torch.linspace(0.02, 1.02, 12, dtype=torch.float64))
    b, lower = units(1, 12), torch.full((1,), 0.02, dtype=torch.float64)

    def solve(rhs):
        return conjugate_gradients(lambda p, out: torch.matmul(p, A, out=out), rhs, lower, 30, 1e-10)

    for factor in (1.0, 1e-4, 1e-8, 1e-200):
        found = solve(factor * b)
        assert torch.equal(found.iterations, solve(b).iterations)
        assert largest_difference(found.x / factor, solve(b).x) < 1e-12


# --- gates ---


@pytest.mark.parametrize("decay", [(1.0, 1.0), (0.9999, 0.9999), (0.01, 0.1)])
def test_long_sequences(draw, decay):
    """The two fast forms, of which neither contains the other, over 8192 tokens."""
    tokens = draw(1, 8192, 1, 8, 8, decay=decay)
    ends = {}
    for form, solver in (("chunk", "cg"), ("compiled", "chebyshev")):
        o, (H, U) = tightly(*tokens, form=form, solver=solver, output_final_state=True)
        o_first, H_first, U_first = ends.setdefault("first", (o, H, U))
        assert largest_difference(o, o_first) < 1e-10
        assert largest_difference(H, H_first) < 1e-12
        assert largest_difference(U, U_first) < 1e-12


@every
@pytest.mark.parametrize("gate", [-20.0, -100.0, -math.inf])
def test_forgetting(draw, form, solver, gate):
    """Where a gate is as low, what was before does not count: 0 times the state, and no infinities."""
    q, k, v, g, gk, alpha = draw(1, 40)
    g[:, [0, 13, 14, 32]] = gk[:, [0, 13, 14, 32]] = gate
    o, (H, U) = tightly(q, k, v, g, gk, alpha, form=form, solver=solver, output_final_state=True)
    torch.testing.assert_close(o, exactly(q, k, v, g, gk, alpha), rtol=0, atol=1e-10)
    for first, last in ((0, 13), (14, 32), (32, 40)):
        part = [tokens[:, first:last] for tokens in (q, k, v, g, gk, alpha)]
        torch.testing.assert_close(o[:, first:last], exactly(*part), rtol=0, atol=max(1e-10, 1e4 * math.exp(gate)))
    assert H.isfinite().all()
    assert U.isfinite().all()


@every
def test_gates_that_are_given_or_not(draw, form, solver):
    q, k, v, g, gk, _ = draw(1, 30)
    zeros, ones = torch.zeros_like(g), torch.ones_like(g)
    for left_out, spelt_out in (
        ({"g": None, "gk": gk}, {"g": zeros, "gk": gk}),
        ({"g": g, "gk": None}, {"g": g, "gk": zeros}),
        ({"g": g, "gk": g}, {"g": g, "gk": g.clone()}),
        ({"alpha": None}, {"alpha": ones}),
        ({"beta": None}, {"beta": ones}),
    ):
        o = tightly(q, k, v, **left_out, form=form, solver=solver)[0]
        assert largest_difference(o, exactly(q, k, v, **spelt_out)) < 1e-11
    linear = tightly(q, k, v, g, gk, zeros, form=form, solver=solver)[0]
    U, rows = torch.zeros(2, 8, 8, dtype=torch.float64), []
    for t in range(30):
        U = g[0, t].exp()[:, None, None] * U + k[0, t, :, :, None] * v[0, t, :, None, :]
        rows.append(8**-0.5 * torch.einsum("hdv,hd->hv", U, q[0, t]))
    torch.testing.assert_close(linear[0], torch.stack(rows), rtol=1e-13, atol=1e-13)


@every
@pytest.mark.parametrize("beta", [1e-6, 0.3])
def test_strength_of_writing(draw, form, solver, beta):
    """It goes into both states squared, and cancels where the regression alone is read."""
    q, k, v, g, gk, _ = draw(1, 30)
    strength = torch.full_like(g, beta)
    o, (H, U) = tightly(q, k, v, g, gk, beta=strength, form=form, solver=solver, output_final_state=True)
    wanted, (H_wanted, U_wanted) = tightly(q, k, v, g, gk, form=form, solver=solver, output_final_state=True)
    assert largest_difference(o, wanted) < 1e-10
    assert largest_difference(H / beta**2, H_wanted) < 1e-13
    assert largest_difference(U / beta**2, U_wanted) < 1e-13


# --- shapes and packing ---


@every
def test_packed_sequences_do_not_see_each_other(draw, form, solver):
    tokens = draw(1, 130)
    ends = [0, 15, 15, 16, 17, 81, 130]
    how = {"cu_seqlens": ends, "form": form, "solver": solver}
    o, (H, U) = gated_kalmanet(*tokens, **how, output_final_state=True)
    for i, (first, last) in enumerate(pairwise(ends)):
        changed = [part.clone() for part in tokens]
        for part in changed:
            part[:, first:last] *= 0.5
        o_changed, (H_changed, U_changed) = gated_kalmanet(*changed, **how, output_final_state=True)
        others = [n for n in range(len(ends) - 1) if n != i]
        outside = torch.ones(130, dtype=torch.bool)
        outside[first:last] = False
        assert torch.equal(o_changed[:, outside], o[:, outside])
        assert torch.equal(H_changed[others], H[others])
        assert torch.equal(U_changed[others], U[others])
        if last > first:
            assert not torch.equal(o_changed[:, first:last], o[:, first:last])


@every
def test_packed_is_as_separate(draw, semidefinite, form, solver):
    tokens = draw(1, 130)
    ends = torch.tensor([0, 15, 15, 16, 17, 81, 130], dtype=torch.int32)
    states = semidefinite(6)
    o, (H, U) = tightly(
        *tokens, form=form, solver=solver, cu_seqlens=ends, initial_state=states, output_final_state=True
    )
    for n, (first, last) in enumerate(pairwise(ends)):
        part = [token[:, first:last] for token in tokens]
        o_part, (H_part, U_part) = tightly(
            *part, form=form, solver=solver, initial_state=tuple(state[n : n + 1] for state in states),
            output_final_state=True,
        )  # fmt: skip
        torch.testing.assert_close(o[:, first:last], o_part, rtol=0, atol=1e-11)
        torch.testing.assert_close(H[n : n + 1], H_part, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(U[n : n + 1], U_part, rtol=1e-13, atol=1e-13)
        if first == last:
            torch.testing.assert_close(H[n], states[0][n], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
def test_dense_is_packed(draw, form):
    """Bit by bit: a batch, and the same sequences behind one another."""
    tokens = draw(3, 33, dtype=torch.float32)
    o, (H, U) = gated_kalmanet(*tokens, form=form, output_final_state=True)
    flat = [part.flatten(0, 1).unsqueeze(0) for part in tokens]
    o_flat, (H_flat, U_flat) = gated_kalmanet(*flat, form=form, cu_seqlens=[0, 33, 66, 99], output_final_state=True)
    same = torch.equal if form != "recurrent" else lambda a, b: torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert same(o.flatten(0, 1), o_flat[0])
    assert same(H, H_flat)
    assert same(U, U_flat)


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
@pytest.mark.parametrize("given", ["dense", "packed", "no batch"])
def test_no_tokens(draw, semidefinite, form, given):
    tokens = [part[:, :0] for part in draw(2 if given == "dense" else 1, 1)]
    sequences = {"dense": 2, "packed": 3, "no batch": 0}[given]
    if given == "no batch":
        tokens = [part[:0] for part in tokens]
    options = {"cu_seqlens": [0, 0, 0, 0]} if given == "packed" else {}
    states = semidefinite(sequences)
    o, (H, U), info = gated_kalmanet(
        *tokens, form=form, initial_state=states, output_final_state=True, return_info=True, **options
    )
    assert o.shape == tokens[2].shape
    assert all(fact.shape == tokens[0].shape[:3] for fact in info)
    assert torch.equal(U, states[1])
    torch.testing.assert_close(H, states[0], rtol=1e-15, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["chunk", "compiled"])
def test_very_many_sequences(form):
    """More than 65535, each of one token: o = v q^T k / (||k||^2 (1 + ridge)), unless the key is orthogonal."""
    q, k = units(2, 1, 70_000, 1, 4)
    v = torch.ones(1, 70_000, 1, 1, dtype=torch.float64)
    o, _ = gated_kalmanet(q, k, v, cu_seqlens=torch.arange(70_001), form=form, solver="cg", rtol=1e-10, scale=1.0)
    torch.testing.assert_close(o[..., 0], (q * k).sum(-1) / 1.02, rtol=0, atol=1e-8)


# --- state ---


@every
def test_continuation(draw, form, solver):
    """All tokens at once, in parts of several tokens each, and one by one."""
    tokens = draw(2, 100)
    options = {"form": form, "solver": solver, "output_final_state": True}
    o, (H, U) = tightly(*tokens, **options)
    for ends in ([0, 37, 100], [0, 64, 65, 100], [0, 1, 2, 99, 100]):
        state, outputs = None, []
        for first, last in pairwise(ends):
            part = [token[:, first:last] for token in tokens]
            found, state = tightly(*part, **options, initial_state=state)
            outputs.append(found)
        assert largest_difference(torch.cat(outputs, 1), o) < 1e-11
        assert largest_difference(state[0], H) < 1e-13
        assert largest_difference(state[1], U) < 1e-13


def test_prompt_then_steps_as_a_user_does(draw):
    """Chunks for the prompt, compiled kernels for the steps, chosen by themselves."""
    tokens = draw(1, 120, 2, 32, 32, dtype=torch.float32)
    o, state = gated_kalmanet(*(part[:, :100] for part in tokens), rtol=1e-6, output_final_state=True)
    outputs = [o]
    for t in range(100, 120):
        o, state = gated_kalmanet(
            *(part[:, t : t + 1] for part in tokens), rtol=1e-6, initial_state=state, output_final_state=True
        )
        outputs.append(o)
    wanted = exactly(*(part.double() for part in tokens))
    assert largest_difference(torch.cat(outputs, 1), wanted) < 1e-4


@every
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e12])
def test_initial_states(draw, semidefinite, form, solver, size):
    tokens = draw(2, 18)
    H, U = semidefinite(2)
    state = size * H, U
    o, ends = tightly(*tokens, form=form, solver=solver, initial_state=state, output_final_state=True)
    wanted, ends_wanted = gated_kalmanet(
        *tokens, solver="exact", form="recurrent", initial_state=state, output_final_state=True
    )
    assert largest_difference(o, wanted) < 1e-10
    assert largest_difference(ends[0], ends_wanted[0]) < 1e-12
    assert largest_difference(ends[1], ends_wanted[1]) < 1e-12


def test_state_with_rounding_is_made_symmetric(draw, semidefinite):
    tokens = draw(1, 5)
    H, U = semidefinite(1)
    noise = 1e-9 * torch.randn(H.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, (H_end, _) = gated_kalmanet(*tokens, initial_state=(H + noise, U), output_final_state=True)
    assert torch.equal(H_end, H_end.mT)


def test_states_must_not_be_kept_in_16_bits():
    """Rounding H to bfloat16 after each token loses what is small beside it; float32 does not."""
    _, k = units(2, 1, 8192, 1, 32)
    zeros = torch.zeros_like(k[..., :1])
    exact = (k[0, :, 0].mT @ k[0, :, 0])[None, None]
    _, (H, _) = gated_kalmanet(k.float(), k.float(), zeros.float(), num_iter=1, output_final_state=True)
    assert largest_difference(H.double(), exact) < 1e-5
    rounded = torch.zeros(32, 32, dtype=torch.bfloat16)
    errors = {}
    for t in range(2048):
        rounded = (rounded.float() + k[0, t].float().mT @ k[0, t].float()).bfloat16()
        if t + 1 in (64, 512, 2048):
            so_far = k[0, : t + 1, 0].mT @ k[0, : t + 1, 0]
            errors[t + 1] = ((rounded.double() - so_far).norm() / so_far.norm()).item()
    assert errors[64] == pytest.approx(1e-2, rel=0.5)
    assert errors[512] == pytest.approx(7e-2, rel=0.5)
    assert errors[2048] == pytest.approx(0.37, rel=0.5)


# --- numerics ---


@fast
@pytest.mark.parametrize("size", [1e4, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_and_small_values(draw, form, solver, size, dtype):
    q, k, v, g, gk, alpha = draw(1, 60, dtype=dtype)
    o, _ = gated_kalmanet(q, k, v * size, g, gk, alpha, form=form, solver=solver, rtol=1e-6)
    wanted = exactly(*(part.double() for part in (q, k, v * size, g, gk, alpha)))
    assert largest_difference(o.double(), wanted) < (1e-5 if dtype == torch.float32 else 4e-3)


@fast
def test_the_same_again_and_on_one_thread(draw, form, solver):
    tokens = draw(1, 100, 4, 32, 32, dtype=torch.float32)
    options = {"form": form, "solver": solver, "output_final_state": True}
    o, ends = gated_kalmanet(*tokens, **options)
    again, ends_again = gated_kalmanet(*tokens, **options)
    assert torch.equal(o, again)
    assert all(map(torch.equal, ends, ends_again))
    threads, numba_threads = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        alone, ends_alone = gated_kalmanet(*tokens, **options)
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(numba_threads)
    if form == "compiled":
        assert torch.equal(o, alone)
        assert all(map(torch.equal, ends, ends_alone))
    assert largest_difference(o, alone) < 1e-5
