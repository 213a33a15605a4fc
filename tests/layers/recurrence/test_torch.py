"""What torch does with functions it does with these: transforms, graphs, tensors without numbers, mixed precision."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, grad, jacrev, jvp, vmap

from resolvent.layers import functional as F

CASES = ("delta_rule", "gated_delta_rule", "kda", "gla", "simple_gla", "linear_attn", "longhorn", "comba")


def arguments(name, T=40, dtype=torch.float64, batch=1, D=4, V=3, H=2):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    q, k, v = (
        normal(batch, T, H, D),
        torch.nn.functional.normalize(normal(batch, T, H, D), dim=-1),
        normal(batch, T, H, V),
    )
    beta, g, channels = normal(batch, T, H).sigmoid(), -normal(batch, T, H).abs(), -normal(batch, T, H, D).abs()
    more = {
        "delta_rule": (beta,),
        "gated_delta_rule": (g, beta),
        "kda": (channels, beta),
        "gla": (channels,),
        "simple_gla": (g,),
        "linear_attn": (),
        "longhorn": (beta,),
        "comba": (0.5 * k, g, beta),
    }[name]
    return q, k, v, *more


# Those that trace take seconds: one of them always, the others where time does not matter.
TRACED = [name if name == "gated_delta_rule" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


@pytest.fixture(params=CASES)
def case(request):
    return getattr(F, f"chunk_{request.param}"), arguments(request.param)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


def test_transforms_of_the_gradient(case):
    function, given = case

    def loss(*given):
        return function(*given)[0].square().sum()

    found = grad(loss, argnums=tuple(range(len(given))))(*given)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    close(found, torch.autograd.grad(loss(*leaves), leaves))


def test_forward_mode(case):
    function, given = case
    tangents = tuple(torch.ones_like(tensor) for tensor in given)
    (_, _), (found, _) = jvp(lambda *given: function(*given, output_final_state=True), given, tangents)
    step = 1e-6
    ahead, behind = (function(*(tensor + sign * step for tensor in given), validate=False)[0] for sign in (1, -1))
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


def test_one_call_for_many_problems(case):
    function, given = case
    stacks = tuple(torch.stack([tensor, tensor.flip(1)]) for tensor in given)
    found = vmap(lambda *given: function(*given)[0])(*stacks)
    close(found, torch.stack([function(*(stack[i] for stack in stacks))[0] for i in range(2)]))


def test_jacobian_by_rows():
    q, k, v, g, beta = arguments("gated_delta_rule", T=5)
    found = jacrev(lambda v: F.chunk_gated_delta_rule(q, k, v, g, beta)[0])(v)
    assert found.shape == (*v.shape, *v.shape)
    wanted = torch.autograd.functional.jacobian(lambda v: F.chunk_gated_delta_rule(q, k, v, g, beta)[0], v)
    close(found, wanted)


def test_meta_tensors(case):
    function, given = case
    o, state = function(*(tensor.to("meta") for tensor in given), output_final_state=True)
    assert o.is_meta
    assert o.shape == (1, 40, 2, 3)
    assert state is not None


def test_fake_tensors(case):
    function, given = case
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        o, _ = function(*(mode.from_tensor(tensor) for tensor in given))
    assert o.shape == (1, 40, 2, 3)


class Layer(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given, output_final_state=True)


@pytest.mark.parametrize("name", TRACED)
def test_export(name):
    function, given = getattr(F, f"chunk_{name}"), arguments(name)
    program = torch.export.export(Layer(function), given)
    o, state = program.module()(*given)
    close((o, state), function(*given, output_final_state=True))


@pytest.mark.parametrize("name", TRACED)
def test_compilation_into_one_graph(name):
    function, given = getattr(F, f"chunk_{name}"), arguments(name)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    o, _ = compiled(*leaves)
    wanted, _ = function(*given)
    close(o.detach(), wanted)
    assert all(part.isfinite().all() for part in torch.autograd.grad(o.sum(), leaves))


def test_autocast_rounds_nothing(case):
    function, given = case
    given = tuple(tensor.float() for tensor in given)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = function(*given)
    assert torch.equal(found, function(*given)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_carried_in_single(dtype):
    given = tuple(tensor.to(dtype) for tensor in arguments("gated_delta_rule"))
    o, state = F.chunk_gated_delta_rule(*given, output_final_state=True)
    wanted, _ = F.chunk_gated_delta_rule(*(tensor.float() for tensor in given))
    assert o.dtype == dtype
    assert state.dtype == torch.float32
    assert torch.equal(o, wanted.to(dtype))


def test_parameters_by_name():
    layer = torch.nn.Linear(3, 3, bias=False).double()
    q, k, v, beta = arguments("delta_rule")

    def loss(weights):
        return F.chunk_delta_rule(q, k, functional_call(layer, weights, (v,)), beta)[0].sum()

    assert grad(loss)(dict(layer.named_parameters()))["weight"].isfinite().all()
