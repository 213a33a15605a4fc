"""Transforms of torch.func and tangents of forward mode: the right numbers, alone and in each other."""

import pytest

torch = pytest.importorskip("torch")

from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap  # noqa: E402

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers.regression import gated_kalmanet, mesa_net  # noqa: E402


@pytest.fixture
def tokens(draw):
    """More than one chunk."""
    return draw(1, 70, 2, 4, 3)


def assert_near(found, wanted, tolerance=1e-9):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(float(other.abs().max()), 1e-6))


def loss(*tokens, **how):
    o, _ = gated_kalmanet(*tokens, **how)
    return o.sin().sum()


def test_gradients_of_every_member_of_a_batch(draw):
    """As for differential privacy: vmap of grad, against one after the other."""
    q, k, v, g, gk, alpha = draw(3, 70, 2, 4, 3)
    how, everything = {"rtol": 1e-13}, tuple(range(6))
    rows = [part.unsqueeze(1) for part in (q, k, v, g, gk, alpha)]
    found = vmap(grad(lambda *one: loss(*one, **how), everything))(*rows)
    leaves = [part.clone().requires_grad_() for part in (q, k, v, g, gk, alpha)]
    wanted = torch.autograd.grad(loss(*leaves, **how), leaves)  # the members do not meet
    assert_near([part.squeeze(1) for part in found], wanted)


@pytest.mark.parametrize("place", range(6))
def test_one_argument_is_mapped_over_along_any_axis(tokens, place):
    stack = torch.stack([tokens[place], 0.9 * tokens[place], 0.8 * tokens[place]], -1)

    def function(part):
        given = [*tokens[:place], part, *tokens[place + 1 :]]
        o, (H, U), info = gated_kalmanet(*given, output_final_state=True, return_info=True, rtol=1e-12)
        return o, H, U, info.condition

    found = vmap(function, in_dims=-1)(stack)
    assert_near(found, [torch.stack(parts) for parts in zip(*map(function, stack.unbind(-1)), strict=True)], 1e-10)


def test_states_and_packed_sequences_are_mapped_over(tokens, semidefinite):
    H, U = semidefinite(2, 2, 4, 3)
    weights = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)

    def function(weight):
        state = (weight * H, weight * U)
        o, state = gated_kalmanet(*tokens, initial_state=state, cu_seqlens=[0, 66, 70], output_final_state=True)
        return o, *state

    found = vmap(function)(weights)
    assert_near(found, [torch.stack(parts) for parts in zip(*map(function, weights), strict=True)], 1e-10)


@pytest.mark.parametrize("outer", [jacrev, jacfwd])
@pytest.mark.parametrize("inner", [jacrev, jacfwd])
def test_second_derivatives_in_any_mix_of_modes(draw, inner, outer):
    tokens = draw(1, 3, 1, 3, 2)

    def function(k, form, **how):
        return loss(tokens[0], k, *tokens[2:], form=form, **how)

    found = outer(inner(lambda k: function(k, "chunk", rtol=1e-13)))(tokens[1])
    wanted = hessian(lambda k: function(k, "recurrent", solver="exact"))(tokens[1])
    assert_near([found], [wanted])


def test_a_third_derivative(draw):
    tokens = draw(1, 3, 1, 3, 2)
    E = torch.linspace(-1, 1, 9, dtype=torch.float64).view(1, 3, 1, 3)

    def third(**how):
        def slope(k):
            return jvp(lambda k: loss(tokens[0], k, *tokens[2:], **how), (k,), (E,))[1]

        return grad(lambda k: jvp(grad(slope), (k,), (E,))[1].sum())(tokens[1])

    assert_near([third(form="chunk", rtol=1e-13)], [third(form="recurrent", solver="exact")])


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_tangents_of_mesa_net_are_differences(draw, form):
    q, k, v, g, _, beta = draw(1, 20, 2, 4, 3)
    lamb = torch.linspace(0.3, 1, 8, dtype=torch.float64).view(2, 4)
    given = (q, k, v, g, beta, lamb)
    directions = tuple(part.flip(1) - 0.1 for part in given)

    def function(*given):
        o, (H, U) = mesa_net(*given, rtol=1e-14, output_final_state=True, form=form)
        return o, H, U

    _, tangents = jvp(function, given, directions)
    step = 1e-5
    ends = [function(*(part + sign * step * d for part, d in zip(given, directions, strict=True))) for sign in (1, -1)]
    assert_near(tangents, [(one - other) / (2 * step) for one, other in zip(*ends, strict=True)], 1e-8)


def test_values_are_checked_of_all_that_is_mapped_over(tokens):
    q, k, v, g, *_ = tokens
    with pytest.raises(InputError, match=r"g: found 0\.5; wanted logarithms of decays"):
        vmap(lambda g: gated_kalmanet(q, k, v, g)[0])(torch.stack([g, torch.full_like(g, 0.5)]))
    with pytest.raises(InputError, match="k: found NaN or infinity"):
        vmap(grad(lambda k: loss(q, k, v)))(torch.stack([k, k * float("nan")]))
    H = torch.stack([torch.eye(4), -torch.eye(4)]).double().expand(1, 2, 2, 4, 4).movedim(2, -1)
    with pytest.raises(InputError, match="h_kk: found a matrix that is indefinite"):
        vmap(lambda H: gated_kalmanet(q, k, v, initial_state=(H, torch.zeros(1, 2, 4, 3)))[0], in_dims=-1)(H)


def test_what_is_not_finite_spoils_no_other_member(tokens):
    q, k, v, *_ = tokens
    stack = torch.stack([k, k])
    stack[1, 0, 10] = float("nan")
    found = vmap(lambda k: gated_kalmanet(q, k, v, validate=False)[0])(stack)
    assert_near(found[:1], gated_kalmanet(q, k, v, form="chunk")[:1], 1e-5)
    assert found[1, 0, 10:].isnan().all()


@pytest.mark.slow
def test_what_is_compiled_is_told_to_leave_transforms_out(tokens):
    q, k, v, *_ = tokens
    slope = grad(lambda k: loss(q, k, v))
    try:
        with pytest.raises(InputError, match=r"torch.compile: found a transform of torch.func, .*; wanted it outside"):
            torch.compile(slope, backend="eager")(k)
        outside = torch.compiler.disable(slope)
        assert_near([torch.compile(lambda k: 2 * outside(k), backend="eager")(k)], [2 * slope(k)])
    finally:
        torch._dynamo.reset()
