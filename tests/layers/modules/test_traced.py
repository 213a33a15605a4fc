"""The layers in torch's world: compiled, exported, on the meta device, with fake tensors, in torch.func, replicated."""

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses import FakeTensorMode  # noqa: E402
from torch.func import functional_call, grad, jvp, vmap  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from resolvent.layers import GatedKalmaNet  # noqa: E402

from .written_out import LAYERS, OF_LENGTH, SIZE, Layer  # noqa: E402

EVERY = [*LAYERS, Layer(GatedKalmaNet, OF_LENGTH, None)]
EACH = pytest.mark.parametrize("layer", EVERY, ids=str)


def inputs(batch=2, tokens=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, SIZE, dtype=torch.float64, generator=generator)


def parameters_of(net):
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


@pytest.fixture
def compiler():
    """torch.compile, which has seen none of the layers: it gives up on code that was compiled for many."""
    torch._dynamo.reset()
    return torch.compile


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("training", [True, False])
def test_one_graph(layer, training, compiler):
    net, x = layer.make().train(training), inputs()
    results = []
    for which in (compiler(net, fullgraph=True, backend="aot_eager"), net):
        given = x.clone().requires_grad_()
        o = which(given)[0]
        results.append([o, *torch.autograd.grad(o.sin().sum(), [given, *net.parameters()])])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


def test_one_graph_of_the_operations_and_what_is_around_them(compiler):
    net, x = next(layer for layer in LAYERS if str(layer) == "GatedDeltaNet").make().eval(), inputs()
    compiled = compiler(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x)[0], net(x)[0], atol=1e-12, rtol=0)


@pytest.mark.slow
@EACH
def test_it_is_exported(layer):
    net, x = layer.make().eval(), inputs()
    exported = torch.export.export(net, (x,))
    torch.testing.assert_close(exported.module()(x)[0], net(x)[0], atol=1e-12, rtol=0)


@EACH
def test_the_meta_device(layer):
    with torch.device("meta"):
        net = layer.kind(**layer.settings)
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
    o, _, _ = net(torch.empty(2, 9, SIZE, device="meta"))
    assert (o.shape, o.device.type) == ((2, 9, SIZE), "meta")


@EACH
def test_fake_tensors(layer):
    with FakeTensorMode():
        net, x = layer.kind(**layer.settings), torch.empty(2, 9, SIZE, requires_grad=True)
        o = net(x)[0]
        (gradient,) = torch.autograd.grad(o.sum(), x)
    assert (o.shape, gradient.shape) == (x.shape, x.shape)


@EACH
def test_gradients_of_a_functional_call(layer):
    net, x = layer.make(), inputs()

    def loss(parameters, x):
        return functional_call(net, parameters, (x,))[0].sin().sum()

    found = grad(loss)(parameters_of(net), x)
    wanted = torch.autograd.grad(net(x)[0].sin().sum(), list(net.parameters()))
    for got, want in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-9)


@EACH
def test_gradients_of_each_sequence(layer):
    """vmap over grad, as for differential privacy."""
    net, x = layer.make(), inputs()

    def loss(parameters, x):
        return functional_call(net, parameters, (x[None],))[0].sin().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters_of(net), x)
    for i in range(2):
        wanted = torch.autograd.grad(net(x[i : i + 1])[0].sin().sum(), list(net.parameters()))
        for got, want in zip(found.values(), wanted, strict=True):
            torch.testing.assert_close(got[i], want, atol=1e-11, rtol=1e-9)


@EACH
def test_forward_mode_is_the_adjoint_of_reverse_mode(layer):
    net, x = layer.make(), inputs()
    tangent, cotangent = inputs(seed=2), inputs(seed=3)
    _, found = jvp(lambda x: net(x)[0], (x,), (tangent,))
    given = x.clone().requires_grad_()
    (adjoint,) = torch.autograd.grad(net(given)[0], given, cotangent)
    torch.testing.assert_close((found * cotangent).sum(), (adjoint * tangent).sum(), atol=1e-10, rtol=1e-10)


@EACH
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_change_no_bit(layer, use_reentrant):
    net = layer.make()

    def gradients(through):
        x = inputs().requires_grad_()
        net.zero_grad()
        o = through(x)
        o.sin().sum().backward()
        return [o.detach(), x.grad, *(parameter.grad.clone() for parameter in net.parameters())]

    found = gradients(lambda x: checkpoint(lambda x: net(x)[0], x, use_reentrant=use_reentrant))
    assert all(map(torch.equal, found, gradients(lambda x: net(x)[0])))


@EACH
def test_data_parallel(layer):
    """On a CPU it passes through; replicas, whose parameters are plain tensors, compute what the layer does."""
    net, x = layer.make(), inputs()
    wanted = net(x)[0]
    assert torch.equal(torch.nn.DataParallel(net)(x)[0], wanted)
    replicas = {module: module._replicate_for_data_parallel() for module in net.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            if child is not None:
                replica._modules[name] = replicas[child]
                setattr(replica, name, replicas[child])
        for name, parameter in module._parameters.items():
            setattr(replica, name, None if parameter is None else parameter.detach().clone())
    assert not list(replicas[net].parameters())
    torch.testing.assert_close(replicas[net](x)[0], wanted, atol=1e-13, rtol=0)


@EACH
def test_a_layer_is_copied_and_pickled(layer, tmp_path):
    net, x = layer.make(), inputs()
    torch.save(net, tmp_path / "layer.pt")
    assert torch.equal(torch.load(tmp_path / "layer.pt", weights_only=False)(x)[0], net(x)[0])
