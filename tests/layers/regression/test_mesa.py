"""MesaNet and ridge regression with a fixed ridge: values, equivalences, gradients, and what they are held to."""

import math
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers.regression import mesa_net  # noqa: E402

DIGITS = 5.01e-13  # twelve of them are printed
SOLVED = [(form, solver) for form in ("recurrent", "chunk") for solver in ("exact", "cg", "chebyshev")]
NAMES = ("q", "k", "v", "g", "beta", "lamb", "H", "U")


def tolerance(solver):
    return {} if solver == "exact" else {"rtol": 1e-14}


@pytest.fixture
def arguments(draw, semidefinite):
    """All that a gradient is wanted for, by name."""

    def drawn(batch=1, tokens=20, heads=2, D=6, V=5, sequences=None, seed=0, **options):
        q, k, v, g, _, beta = draw(batch, tokens, heads, D, V, seed=seed, **options)
        H, U = semidefinite(sequences or batch, heads, D, V, seed=seed + 1)
        generator = torch.Generator().manual_seed(seed + 2)
        lamb = 0.25 + torch.rand(heads, D, generator=generator, dtype=torch.float64)
        return dict(zip(NAMES, (q, k, v, g, beta, lamb, H, U), strict=True))

    return drawn


def call(values, **options):
    """o, H_T, U_T."""
    *tokens, H, U = (values[name] for name in NAMES)
    o, state = mesa_net(*tokens, initial_state=(H, U), output_final_state=True, **options)
    return o, *state


def derivatives(values, **options):
    """First and second ones, by argument, of a function that is not linear in the results."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    loss = sum(part.sin().sum() for part in call(leaves, **options))
    first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
    second = torch.autograd.grad(sum(part.sin().sum() for part in first), list(leaves.values()))
    return first, second


def assert_near(found, wanted, tolerance):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.detach().abs().max()))


@pytest.fixture
def golden():
    """The inputs of published values, which are of an independent implementation in NumPy."""
    t = torch.arange(4, dtype=torch.float64)[:, None]
    i, j = torch.arange(3, dtype=torch.float64), torch.arange(2, dtype=torch.float64)
    q, k = torch.sin(1 + 0.7 * t + 1.3 * i), torch.cos(0.3 + 1.1 * t + 0.9 * i)
    parts = (
        q / q.norm(dim=1, keepdim=True),
        k / k.norm(dim=1, keepdim=True),
        torch.sin(0.5 + 0.4 * t + 1.7 * j),
        torch.tensor([0.9, 0.8, 0.95, 0.7], dtype=torch.float64).log(),
        torch.tensor([0.3, 0.9, 0.5, 0.7], dtype=torch.float64),
    )
    return [part.unsqueeze(0).unsqueeze(2) for part in parts]


@pytest.mark.parametrize(("form", "solver"), SOLVED)
def test_golden_values(golden, form, solver):
    options = {"scale": 3**-0.5, "form": form, "solver": solver, **tolerance(solver)}
    lamb = torch.tensor([[1, 0.5, 2]], dtype=torch.float64)
    mesa, _ = mesa_net(*golden, lamb, **options)
    wanted = torch.tensor([[0.104441843616, 0.114679140880], [0.293250544582, 0.115178029695]], dtype=torch.float64)
    torch.testing.assert_close(mesa[0, [1, 3], 0], wanted, rtol=0, atol=DIGITS)
    ridge, _ = mesa_net(*golden[:3], lamb=0.5, **options)
    wanted = torch.tensor([[0.286418851231, 0.351142298384], [0.353437304139, 0.167509477066]], dtype=torch.float64)
    torch.testing.assert_close(ridge[0, [1, 3], 0], wanted, rtol=0, atol=DIGITS)


@pytest.mark.parametrize(("form", "solver"), SOLVED)
def test_without_gates_it_is_recursive_least_squares(draw, form, solver):
    """With P_0 = I / lambda: the covariance recursion of a static state, seen with noise of variance 1."""
    q, k, v, *_ = draw(1, 40, 1, 6, 5)
    o, _ = mesa_net(q, k, v, lamb=0.3, form=form, solver=solver, **tolerance(solver))
    P, S = torch.eye(6, dtype=torch.float64) / 0.3, torch.zeros(6, 5, dtype=torch.float64)
    for t in range(40):
        key = k[0, t, 0]
        gain = P @ key / (1 + key @ P @ key)
        S = S + torch.outer(gain, v[0, t, 0] - S.T @ key)
        P = P - torch.outer(gain, key @ P)
        torch.testing.assert_close(o[0, t, 0], S.T @ q[0, t, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (2,), (2, 6)])
def test_a_number_for_all_a_head_or_an_entry(arguments, shape):
    values = arguments()
    whole = torch.full((2, 6), 0.4, dtype=torch.float64)
    wanted = call({**values, "lamb": whole}, solver="exact")
    found = call({**values, "lamb": torch.full(shape, 0.4, dtype=torch.float64)}, solver="exact")
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))
    assert all(torch.equal(*pair) for pair in zip(call({**values, "lamb": 0.4}, solver="exact"), wanted, strict=True))


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_first_and_second_derivatives(arguments, solver):
    """Of the chunk-wise form, over more than one chunk, against the recurrent one with factorisations.

    One token has beta = 0, where its derivative is not 0.
    """
    values = arguments(2, 70)
    values["beta"][0, 5, 1] = 0
    wanted = derivatives(values, form="recurrent", solver="exact")
    assert wanted[0][4][0, 5, 1].abs() > 1e-3
    for found, right in zip(derivatives(values, form="chunk", solver=solver, **tolerance(solver)), wanted, strict=True):
        assert_near(found, right, 1e-10)


def test_a_solve_stops_by_its_residual_however_small_the_right_hand_side(arguments):
    """That of forward and backward passes; published kernels add 1e-5 to inner products, and lose small ones."""
    values = {name: value.float() for name, value in arguments(1, 100, D=16, decay=(0.99, 1.0)).items()}
    exact = {name: value.double() for name, value in values.items()}
    for size in (1.0, 1e-4, 1e-8):
        o, _, info = mesa_net(*(size * values["q"], *list(values.values())[1:6]), return_info=True, rtol=1e-6)
        wanted, _ = mesa_net(*(size * exact["q"], *list(exact.values())[1:6]), solver="exact")
        assert info.relative_residual.max() < 2e-6
        torch.testing.assert_close(o.double(), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
        leaf = values["k"].clone().requires_grad_()
        o, _ = mesa_net(values["q"], leaf, *list(values.values())[2:6], rtol=1e-6)
        (found,) = torch.autograd.grad((size * o).sum(), leaf)
        leaf = exact["k"].clone().requires_grad_()
        o, _ = mesa_net(exact["q"], leaf, *list(exact.values())[2:6], solver="exact")
        (wanted,) = torch.autograd.grad((size * o).sum(), leaf)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("solver", ["cg", "chebyshev"])
def test_a_key_read_again_and_again(solver):
    """Its condition number grows with the tokens; conjugate gradients need two steps all the same."""
    k = torch.nn.functional.normalize(torch.arange(1.0, 9.0), dim=0).expand(1, 500, 1, 8)
    q = torch.nn.functional.normalize(torch.linspace(1, -1, 8).sin() + torch.linspace(0, 0.1, 500)[:, None], dim=-1)
    q, v = q[None, :, None], torch.ones(1, 500, 1, 2)
    wanted, _ = mesa_net(*(part.double() for part in (q, k, v)), lamb=0.25, solver="exact")
    for dtype, reached in ((torch.float64, 1e-8), (torch.float32, 500 / 0.25 * 1e-6)):  # a few roundings of A x
        given = (part.to(dtype) for part in (q, k, v))
        o, _, info = mesa_net(*given, lamb=0.25, solver=solver, rtol=1e-8, return_info=True)
        assert 500 / 0.25 < info.condition.max() < 1.1 * 500 / 0.25
        assert info.relative_residual.max() < reached
        torch.testing.assert_close(o.double(), wanted, rtol=0, atol=reached * float(wanted.abs().max()))
        if dtype == torch.float64:
            assert (info.iterations.max() <= 4) == (solver == "cg")


def test_packed_sequences_and_states_handed_over(arguments):
    values = arguments(1, 70, sequences=3)
    ends = [0, 40, 40, 70]
    packed = call(values, cu_seqlens=ends, rtol=1e-12)
    alone = [
        call(
            {
                **{name: values[name] if name == "lamb" else values[name][:, first:last] for name in NAMES[:6]},
                **{name: values[name][n : n + 1] for name in "HU"},
            },
            rtol=1e-12,
        )
        for n, (first, last) in enumerate(pairwise(ends))
    ]
    for axis, found, parts in zip((1, 0, 0), packed, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(parts, axis), rtol=1e-10, atol=1e-11)

    values = arguments(2, 70)
    whole = call(values, rtol=1e-12)
    H, U, outputs = values["H"], values["U"], []
    for first, last in ((0, 1), (1, 37), (37, 70)):
        part = {name: values[name] if name == "lamb" else values[name][:, first:last] for name in NAMES[:6]}
        o, H, U = call({**part, "H": H, "U": U}, rtol=1e-12)
        outputs.append(o)
    for found, wanted in zip((torch.cat(outputs, 1), H, U), whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lamb": 0.0}, r"lamb: found 0.0; wanted a positive number"),
        ({"lamb": torch.tensor([1.0, -1.0])}, r"lamb: found \[1.0, -1.0\]; wanted positive numbers"),
        ({"lamb": torch.ones(3)}, r"lamb: found the shape \(3,\); wanted \(\), \(H,\) = \(2,\) or \(H, D\) = \(2, 6\)"),
        ({"lamb": torch.ones(2, 5)}, r"lamb: found the shape \(2, 5\)"),
        ({"beta": -torch.ones(1, 20, 2)}, r"beta: found -1; wanted at least 0"),
        ({"beta": torch.ones(1, 20)}, r"beta: found the shape \(1, 20\); wanted \(1, 20, 2\)"),
        ({"form": "triton"}, r"form: found 'triton'; wanted one of auto, chunk, recurrent"),
        ({"rtol": 1e-3, "num_iter": 3}, r"num_iter, rtol: found both"),
    ],
)
def test_messages(arguments, changes, message):
    given = {name: value for name, value in arguments().items() if name not in "HU"}
    with pytest.raises(InputError, match=message):
        mesa_net(**{**given, **changes})


def test_what_is_not_finite_spoils_what_it_reaches(arguments):
    values = arguments(1, 40)
    values["beta"][0, 20, 0] = math.nan
    o, H, _ = call(values, validate=False, rtol=1e-12)
    assert o[0, 20:, 0].isnan().all()
    assert H[0, 0].isnan().all()
    assert o[0, :20].isfinite().all()
    assert o[0, :, 1].isfinite().all()


def test_traced_as_one_operator(arguments):
    values = list(arguments(2, 20).values())[:6]
    compiled = torch.compile(lambda *given: mesa_net(*given)[0], fullgraph=True, backend="eager")
    assert torch.equal(compiled(*values), mesa_net(*values)[0])
    torch._dynamo.reset()
    o, (H, U) = mesa_net(*(part.to("meta") for part in values), output_final_state=True)
    assert [(part.shape, part.device.type) for part in (o, H, U)] == [
        ((2, 20, 2, 5), "meta"), ((2, 2, 6, 6), "meta"), ((2, 2, 6, 5), "meta"),
    ]  # fmt: skip
