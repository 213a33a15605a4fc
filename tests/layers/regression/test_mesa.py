"""MesaNet and ridge regression with a fixed ridge: values, equivalences, gradients, and what they are held to."""

import pytest

torch = pytest.importorskip("torch")

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
