"""Meta and fake tensors, export and compilation see one operator; results are those of running it at once."""

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses import FakeTensorMode  # noqa: E402

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers import GatedKalmaNet  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.arguments import as_inputs  # noqa: E402
from resolvent.layers.regression.operators import Call, Results, chunk_wise  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402

NAMES = ("q", "k", "v", "g", "gk", "alpha")


@pytest.fixture(autouse=True)
def afresh():
    """Compiled anew by each test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def graph_of(function, *arguments):
    """What is compiled, in one piece, and the names of the operators in it."""
    seen = []

    def backend(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    result = torch.compile(function, fullgraph=True, backend=backend)(*arguments)
    return result, seen


def call(*tokens, **options):
    return gated_kalmanet(*tokens, beta=tokens[-1], output_final_state=True, **{"form": "chunk", **options})


def with_gradients(function, tokens, weights):
    leaves = [part.detach().clone().requires_grad_() for part in tokens]
    o, states, *_ = function(*leaves)
    loss = (o * weights).sum() + sum(state.square().sum() for state in states)
    return [o, *states, *torch.autograd.grad(loss, leaves)]


def arguments_of_the_operator(monkeypatch, inputs, solver, want_info=False):
    """As ``chunk_wise`` passes them on."""
    from resolvent.layers.regression import operators

    caught = []
    with monkeypatch.context() as patch:
        real = operators._operator
        patch.setattr(operators, "_operator", lambda *given: caught.append(given) or real(*given))
        chunk_wise(inputs, solver, want_info)
    (given,) = caught
    return given


@pytest.mark.parametrize("case", ["all", "no gates", "packed, cg", "facts", "exact"])
def test_the_operator_keeps_its_word(draw, semidefinite, monkeypatch, case):
    """Its schema, its derivative and its shapes, by torch's own check, with shapes that are and are not fixed."""
    tokens = draw(1, 12, 2, 4, 3)
    states = semidefinite(2 if case == "packed, cg" else 1, 2, 4, 3)
    ratio = torch.tensor([0.02, 0.1], dtype=torch.float64, requires_grad=case == "all")
    tokens = [part.requires_grad_(case != "facts") for part in tokens]
    if case == "no gates":
        tokens[3:] = [None] * 3
    boundaries = [0, 5, 12] if case == "packed, cg" else None
    inputs = as_inputs(*tokens, None, ratio, None, states, boundaries, True)
    solver = Solver({"packed, cg": "cg", "exact": "exact"}.get(case, "chebyshev"))
    given = arguments_of_the_operator(monkeypatch, inputs, solver, case == "facts")
    torch.library.opcheck(torch.ops.resolvent.gated_kalmanet.default, given)


def test_the_derivative_keeps_its_word(draw, semidefinite, monkeypatch):
    inputs = as_inputs(*[part.requires_grad_() for part in draw(1, 12, 2, 4, 3)], None, 0.02, None, None, None, True)
    given = Call(*arguments_of_the_operator(monkeypatch, inputs, Solver()))
    given = Call(*(part.detach() if isinstance(part, torch.Tensor) else part for part in given))
    found = Results(*torch.ops.resolvent.gated_kalmanet.default(*given))
    kept = (found.o, found.H, found.U, found.o, found.x, found.norms, found.uppers, found.finite)
    torch.library.opcheck(
        torch.ops.resolvent.gated_kalmanet_backward.default, (*(part.clone() for part in kept), *given)
    )


@pytest.mark.parametrize("validate", [True, False])
def test_compiled_in_one_piece(draw, validate):
    tokens = draw(2, 20, 2, 8, 6)
    weights = torch.randn(2, 20, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def function(*leaves):
        return call(*leaves, validate=validate)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    found, wanted = (with_gradients(which, tokens, weights) for which in (compiled, function))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_compiled_is_one_operator(draw):
    (o, _), seen = graph_of(call, *draw(1, 20, 2, 8, 6))
    assert [name for name in seen if "resolvent" in name] == ["resolvent.gated_kalmanet.default"]
    assert o.shape == (1, 20, 2, 6)


def test_ends_of_sequences_may_be_traced(draw):
    tokens, ends = draw(1, 20, 2, 8, 6), torch.tensor([0, 5, 20])
    (o, states), _ = graph_of(lambda ends, *tokens: call(*tokens, cu_seqlens=ends), ends, *tokens)
    wanted, wanted_states = call(*tokens, cu_seqlens=ends)
    assert all(torch.equal(*pair) for pair in zip((o, *states), (wanted, *wanted_states), strict=True))
    with pytest.raises(
        InputError, match=r"cu_seqlens: found \[0, 5, 19\]; wanted to start with 0 and to end with T = 20"
    ):
        graph_of(lambda ends, *tokens: call(*tokens, cu_seqlens=ends), ends - ends // 20, *tokens)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (3, 1.0, "g: found 1; wanted logarithms"),
        (5, 2.0, "alpha: found 2; wanted at most 1"),
        (0, float("nan"), "q: found NaN"),
    ],
)
def test_values_are_checked_when_they_are_known(draw, place, value, message):
    tokens = draw(1, 20, 2, 8, 6)
    compiled = torch.compile(gated_kalmanet, fullgraph=True, backend="eager")
    compiled(*tokens)
    tokens[place].view(-1)[7] = value
    with pytest.raises(InputError, match=message):
        compiled(*tokens)


def test_meta_and_fake_tensors(draw):
    tokens = draw(2, 20, 2, 8, 6, dtype=torch.bfloat16)
    o, (H, U), info = call(*(part.to("meta") for part in tokens), form="auto", return_info=True)
    assert (o.shape, o.dtype, o.device.type) == ((2, 20, 2, 6), torch.bfloat16, "meta")
    assert (H.shape, U.shape, H.dtype, info.iterations.dtype) == (
        (2, 2, 8, 8),
        (2, 2, 8, 6),
        torch.float32,
        torch.int32,
    )
    with FakeTensorMode() as mode:
        leaves = [mode.from_tensor(part).requires_grad_() for part in tokens]
        o, _ = call(*leaves, form="auto")
        for leaf, gradient in zip(leaves, torch.autograd.grad(o.sum(), leaves), strict=True):
            assert (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)


@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 2}, {"use_alpha_connection": False, "use_gate": False}])
def test_the_layer_in_one_piece(options):
    layer = GatedKalmaNet(hidden_size=32, head_dim=8, num_heads=4, **options)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for which in (compiled, layer):
        x = torch.linspace(-1, 1, 2 * 20 * 32).sin().view(2, 20, 32).requires_grad_()
        o, _, _ = which(x)
        results.append([o, *torch.autograd.grad(o.square().sum(), [x, *layer.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_layer_is_exported_for_any_batch_and_length():
    layer = GatedKalmaNet(hidden_size=32, head_dim=8, num_heads=4).eval()
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=4)}
    exported = torch.export.export(layer, (torch.randn(2, 20, 32),), dynamic_shapes={"hidden_states": sizes})
    x = torch.randn(3, 50, 32)
    torch.testing.assert_close(exported.module()(x)[0], layer(x)[0], rtol=1e-5, atol=1e-6)
