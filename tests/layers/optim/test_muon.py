"""Muon against PyTorch's, against its definition in float64, and against AdamW for what is no matrix."""

import copy
import io
import math

import numpy as np
import pytest
import torch

from resolvent.errors import InputError
from resolvent.layers.optim import Muon
from resolvent.solvers.matrix_functions.newton_schulz import preset, schedule

KELLER = (3.4445, -4.7750, 2.0315)
SHAPES = [(6, 4), (4, 6), (8, 8), (6, 4), (5, 1), (1, 1)]


def parameters(shapes=SHAPES, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)) for shape in shapes]


def gradients(ps, seed):
    draw = torch.Generator().manual_seed(100 + seed)
    for p in ps:
        p.grad = torch.randn(*p.shape, generator=draw, dtype=torch.float64).to(p.dtype)


def run(optimizer, ps, steps=3):
    for k in range(steps):
        gradients(ps, k)
        optimizer.step()
    return [p.detach().clone() for p in ps]


def by_definition(ps, steps, coefficients, lr, decay, mu, nesterov, rate):
    """Muon by singular values, in NumPy's float64."""
    W = [p.detach().numpy().copy() for p in ps]
    B = [np.zeros_like(w) for w in W]
    for k in range(steps):
        gradients(ps, k)
        for i, p in enumerate(ps):
            G = p.grad.numpy()
            B[i] = mu * B[i] + (1 - mu) * G
            u, s, vt = np.linalg.svd((1 - mu) * G + mu * B[i] if nesterov else B[i], full_matrices=False)
            s = s / np.linalg.norm(s)
            for c in coefficients:
                s = sum(a * s ** (2 * j + 1) for j, a in enumerate(c))
            W[i] = (1 - lr * decay) * W[i] - lr * rate(*W[i].shape) * (u * s) @ vt
    return W


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
@pytest.mark.parametrize("steps", [(KELLER,) * 5, preset("polar-express").coefficients, ((1.5, -0.5), KELLER)])
def test_a_step_is_that_of_the_definition(nesterov, adjust, steps):
    ps = parameters()
    rate = (lambda m, n: 0.2 * math.sqrt(max(m, n))) if adjust else (lambda m, n: math.sqrt(max(1, m / n)))
    wanted = by_definition(parameters(), 3, steps, 0.1, 0.3, 0.9, nesterov, rate)
    optimizer = Muon(ps, 0.1, 0.3, 0.9, nesterov, steps, adjust_lr_fn=adjust, compute_dtype=torch.float64)
    for found, w in zip(run(optimizer, ps), wanted, strict=True):
        np.testing.assert_allclose(found.numpy(), w, rtol=0, atol=1e-11)


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_step_is_that_of_torch_to_the_rounding_of_bfloat16(nesterov):
    ours, theirs = parameters(dtype=torch.float32), parameters(dtype=torch.float32)
    found = run(Muon(ours, lr=0.1, nesterov=nesterov, compute_dtype=torch.bfloat16), ours)
    wanted = run(torch.optim.Muon(theirs, lr=0.1, nesterov=nesterov), theirs)
    before = parameters(dtype=torch.float32)
    for a, b, start in zip(found, wanted, before, strict=True):
        assert (a - b).norm() <= 0.05 * (b - start).norm()


def test_bfloat16_gradients_leave_the_momentum_alone():
    (p,) = parameters([(6, 4)], torch.bfloat16)
    optimizer = Muon([p], nesterov=False, momentum=0.5, compute_dtype=torch.bfloat16)
    gradients([p], 0)
    gradient = p.grad.clone()
    optimizer.step()
    assert torch.equal(p.grad, gradient)
    assert torch.equal(optimizer.state[p]["momentum_buffer"], (0.5 * gradient.float()).bfloat16())


def test_stacks_and_convolutions_are_matrices():
    stack, kernel = parameters([(3, 6, 4), (5, 2, 3, 3)])
    alone = [torch.nn.Parameter(m.detach().clone()) for m in stack] + [
        torch.nn.Parameter(kernel.detach().reshape(5, 18).clone())
    ]
    gradients([stack, kernel], 0)
    for p, g in zip(alone, [*stack.grad, kernel.grad.reshape(5, 18)], strict=True):
        p.grad = g.clone()
    for ps in ([stack, kernel], alone):
        Muon(ps, lr=0.1, compute_dtype=torch.float64).step()
    torch.testing.assert_close(stack.detach(), torch.stack([p.detach() for p in alone[:3]]), rtol=0, atol=1e-13)
    torch.testing.assert_close(kernel.detach().reshape(5, 18), alone[3].detach(), rtol=0, atol=1e-13)


def test_three_axes_may_be_one_matrix():
    (kernel,) = parameters([(4, 3, 2)])
    flat = torch.nn.Parameter(kernel.detach().reshape(4, 6).clone())
    gradients([kernel], 0)
    flat.grad = kernel.grad.reshape(4, 6).clone()
    Muon([kernel], matrices="flatten", compute_dtype=torch.float64).step()
    Muon([flat], compute_dtype=torch.float64).step()
    torch.testing.assert_close(kernel.detach().reshape(4, 6), flat.detach(), rtol=0, atol=1e-14)


def test_more_matrices_than_fit_the_cache_are_iterated_in_turn(monkeypatch):
    from resolvent.layers.optim import orthogonal

    together = run(Muon(ps := parameters([(6, 4)] * 7), compute_dtype=torch.float64), ps)
    monkeypatch.setattr(orthogonal, "CACHED", 2 * 6 * 4 * 8)
    in_parts = run(Muon(ps := parameters([(6, 4)] * 7), compute_dtype=torch.float64), ps)
    for a, b in zip(together, in_parts, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("scaling", ["frobenius", "schatten-4", "aol"])
def test_what_is_added_is_orthogonal_after_a_schedule_that_converges(scaling):
    ps = parameters([(9, 5), (5, 9)])
    before = [p.detach().clone() for p in ps]
    gradients(ps, 0)
    steps = schedule(1e-2, degree=5, tolerance=1e-9)
    Muon(ps, 1.0, 0.0, ns_coefficients=steps, scaling=scaling, compute_dtype=torch.float64).step()
    for p, start, c in zip(ps, before, (math.sqrt(9 / 5), 1.0), strict=True):
        O = (start - p.detach()) / c
        small = O.mT @ O if O.shape[0] > O.shape[1] else O @ O.mT
        torch.testing.assert_close(small, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-7)
        if scaling != "aol":  # which is biased
            u, _, vt = torch.linalg.svd(p.grad, full_matrices=False)
            torch.testing.assert_close(O, u @ vt, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_gradients_of_any_size_give_finite_steps(size):
    (p,) = parameters([(4, 3)], torch.float32)
    before = p.detach().clone()
    gradients([p], 0)
    p.grad *= size
    Muon([p], 0.1, 0.0, eps=0.0 if size else 1e-7, scaling="schatten-4").step()
    step = (p.detach() - before).norm()
    assert step == 0 if size == 0 else 0.05 < step < 0.5


def test_what_is_no_matrix_goes_by_adamw():
    ours, theirs = parameters([(4,), (3, 5)]), parameters([(4,), (3, 5)])
    found = run(Muon([{"params": ours, "use_muon": False}], lr=0.1, weight_decay=0.2, betas=(0.8, 0.9)), ours)
    wanted = run(torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.2, betas=(0.8, 0.9)), theirs)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_a_module_is_divided():
    model = torch.nn.Sequential(
        torch.nn.Embedding(10, 4), torch.nn.Conv1d(4, 4, 2), torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)
    )
    model[3].bias.requires_grad_(False)
    optimizer = Muon.for_module(model, adamw=["3"], momentum=0.5)
    muon, adamw = optimizer.param_groups
    assert [p is model[1].weight for p in muon["params"]] == [True]
    assert muon["matrices"] == "flatten"
    assert muon["momentum"] == 0.5
    assert {id(p) for p in adamw["params"]} == {
        id(p) for p in (model[0].weight, model[1].bias, model[2].weight, model[2].bias, model[3].weight)
    }
    chosen = Muon.for_module(model, adamw=lambda name, p: p.shape[0] == 3)
    assert all(p is not model[3].weight for p in chosen.param_groups[0]["params"])
    with pytest.raises(InputError, match="'4'"):
        Muon.for_module(model, adamw=["4"])


@pytest.mark.parametrize("make", [Muon, torch.optim.Muon])
@pytest.mark.parametrize("into", [Muon, torch.optim.Muon])
def test_state_is_interchangeable_with_torch(make, into):
    ps = parameters(dtype=torch.float32)
    first = make(ps, lr=0.1, momentum=0.7)
    run(first, ps, 2)
    kept = io.BytesIO()
    torch.save(first.state_dict(), kept)
    kept.seek(0)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in ps]
    second = into(copies)
    second.load_state_dict(torch.load(kept, weights_only=True))
    gradients(ps, 5)
    gradients(copies, 5)
    first.step()
    second.step()
    for p, q in zip(ps, copies, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0 if make is into else 0.02)


def test_a_copy_and_a_closure():
    ps = parameters([(3, 3)])
    optimizer = copy.deepcopy(Muon(ps, ns_coefficients="you"))
    (p,) = optimizer.param_groups[0]["params"]

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


def test_a_parameter_without_gradient_stays():
    ps = parameters([(3, 2), (3, 2)])
    gradients(ps[:1], 0)
    before = ps[1].detach().clone()
    optimizer = Muon(ps)
    optimizer.step()
    assert torch.equal(ps[1], before)
    assert ps[1] not in optimizer.state


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"lr": -1.0}, "lr"),
        ({"lr": torch.ones(2)}, "lr"),
        ({"momentum": math.nan}, "momentum"),
        ({"weight_decay": "0"}, "weight_decay"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"ns_steps": 0}, "ns_steps"),
        ({"ns_steps": 100}, "ns_steps"),
        ({"ns_coefficients": ()}, "ns_coefficients"),
        ({"ns_coefficients": (1.5, math.nan)}, "ns_coefficients"),
        ({"ns_coefficients": ((1.5, -0.5), "x")}, "ns_coefficients"),
        ({"ns_coefficients": "polar-expres"}, "ns_coefficients: .*polar-express"),
        ({"ns_coefficients": "aol"}, "ns_coefficients: .*allow_sign_flip"),
        ({"ns_coefficients": ((1.5, -0.5), (1.5, -0.5)), "ns_steps": 3}, "ns_steps"),
        ({"ns_coefficients": schedule(1e-2, root=4, degree=3, steps=2)}, "root 4"),
        ({"scaling": "spectral"}, "scaling"),
        ({"matrices": "rows"}, "matrices"),
        ({"adjust_lr_fn": "none"}, "adjust_lr_fn"),
        ({"compute_dtype": torch.int32}, "compute_dtype"),
    ],
)
def test_options_out_of_range(options, names):
    with pytest.raises(InputError, match=names):
        Muon(parameters([(2, 2)]), **options)


def test_parameters_that_are_no_matrices():
    with pytest.raises(InputError, match=r"shape \(4,\).*use_muon=False"):
        Muon(parameters([(4,)]))
    with pytest.raises(InputError, match="complex"):
        Muon([torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))])
    p = torch.nn.Parameter(torch.ones(2, 2))
    p.grad = torch.eye(2).to_sparse()
    with pytest.raises(InputError, match="sparse"):
        Muon([p]).step()
