"""The chunk-wise form is the recurrence, value and gradient: all kinds of decay, erasure, corrections and lengths."""

import dataclasses
import itertools

import pytest
import torch

from resolvent.layers.recurrence.chunked import chunked
from resolvent.layers.recurrence.recurrence import Recurrence
from resolvent.layers.recurrence.recurrent import recurrent

FIELDS = ("r", "w", "v", "initial", "e", "b", "g")


def draw(
    lengths=(75,), batch=1, heads=2, D=5, V=3, decay="none", erase="key", n=1, dtype=torch.float64, strong=False, seed=0
):
    """A recurrence of random numbers, keys of unit length; strengths up to 2."""
    generator = torch.Generator().manual_seed(seed)
    T = sum(lengths) // batch

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    w = torch.nn.functional.normalize(normal(batch, n * T, heads, D), dim=-1)
    e = {"none": None, "key": w, "other": torch.nn.functional.normalize(normal(batch, n * T, heads, D), dim=-1)}[erase]
    g = None
    if decay != "none":
        g = -normal(batch, T, heads, *((D,) if decay == "channel" else ())).abs() * (10 if strong else 0.1)
    return Recurrence(
        r=normal(batch, T, heads, D),
        w=w,
        v=normal(batch, n * T, heads, V),
        initial=normal(len(lengths), heads, D, V),
        lengths=tuple(lengths),
        e=e,
        b=2 * torch.rand((batch, n * T, heads, 1), generator=generator, dtype=dtype),
        g=g,
        corrections=n,
        scale=0.7,
    )


def with_gradients(form, recurrence):
    """o, the final state, and the gradients of a sum with weights of both."""
    given = {name: getattr(recurrence, name) for name in FIELDS if getattr(recurrence, name) is not None}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
    if recurrence.e is recurrence.w:
        leaves["e"] = leaves["w"]
    o, final = form(dataclasses.replace(recurrence, **leaves))
    weights = torch.Generator().manual_seed(1)
    loss = sum((part * torch.randn(part.shape, generator=weights, dtype=part.dtype)).sum() for part in (o, final))
    return o, final, torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)


def agree(recurrence, rtol=1e-9, atol=1e-11):
    *found, gradients = with_gradients(chunked, recurrence)
    *wanted, exact = with_gradients(recurrent, recurrence)
    for one, other in zip((*found, *gradients), (*wanted, *exact), strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("erase", ["none", "key", "other"])
@pytest.mark.parametrize("decay", ["none", "head", "channel"])
def test_forms_agree(decay, erase, n):
    agree(draw(decay=decay, erase=erase, n=n))


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
@pytest.mark.parametrize("lengths", [(40, 0, 3, 65, 32), (0, 0), (1,), (64, 64), (33,) * 3])
def test_forms_agree_on_packed_sequences(decay, lengths):
    agree(draw(lengths=lengths, decay=decay))


def test_forms_agree_on_a_batch():
    agree(draw(lengths=(50,) * 3, batch=3, decay="head"))


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_strong_decay_costs_no_accuracy(decay):
    agree(draw(decay=decay, strong=True), rtol=1e-8)


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_a_decay_of_zero_resets_the_state(decay):
    recurrence = draw(decay=decay)
    recurrence.g[:, [0, 20, 40, 41]] = -torch.inf
    agree(recurrence)
    o, final, gradients = with_gradients(chunked, recurrence)
    assert all(part.isfinite().all() for part in (o, final, *gradients))
    assert not gradients[3].any()  # of the state before a reset


def test_erasure_of_the_state_before_it_decays():
    for strong, reset in itertools.product((False, True), repeat=2):
        recurrence = dataclasses.replace(draw(decay="head", erase="other", strong=strong), erase_undecayed=True)
        if reset:
            recurrence.g[:, 7] = -torch.inf
        agree(recurrence, rtol=1e-8)


def test_single_precision_is_as_accurate_as_token_by_token():
    exact = draw(lengths=(500,), D=32, V=32, decay="channel")
    single = {name: getattr(exact, name).float() for name in FIELDS}
    wanted, _ = recurrent(exact)
    errors = [
        (form(dataclasses.replace(exact, **single))[0] - wanted).norm() / wanted.norm() for form in (chunked, recurrent)
    ]
    assert errors[0] < 4 * errors[1] + 1e-7


def test_second_derivatives():
    small = draw(lengths=(9,), D=2, V=2, heads=1, decay="head")

    def loss(r, w, v, g, initial):
        o, final = chunked(dataclasses.replace(small, r=r, w=w, e=w, v=v, g=g, initial=initial))
        return o, final

    leaves = [getattr(small, name).clone().requires_grad_() for name in ("r", "w", "v", "g", "initial")]
    assert torch.autograd.gradgradcheck(loss, leaves)
