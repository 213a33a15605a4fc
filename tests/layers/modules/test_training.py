"""What the layer does in training: the same with and without grad mode, checkpoints, empty batches, bad tokens."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint  # noqa: E402

from resolvent.layers import Cache, GatedKalmaNet  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402


def layer(seed=0, **changes):
    torch.manual_seed(seed)
    return GatedKalmaNet(**({"hidden_size": 24, "head_dim": 6, "num_heads": 4, "layer_idx": 0} | changes))


def inputs(batch=2, tokens=11, seed=1):
    return torch.randn(batch, tokens, 24, generator=torch.Generator().manual_seed(seed))


def gradients(net, x, through):
    x = x.clone().requires_grad_()
    net.zero_grad()
    o = through(x)
    o.sin().sum().backward()
    return [o.detach(), x.grad, *(parameter.grad.clone() for parameter in net.parameters())]


MODES = pytest.mark.parametrize("mode", ["chunk", "fused_recurrent"])


@MODES
@pytest.mark.parametrize("solver", ["chebyshev", "cg"])
@pytest.mark.parametrize("tokens", [1, 11, 70])
def test_in_training_grad_mode_changes_no_bit(mode, solver, tokens):
    net, x = layer(mode=mode, solver=solver), inputs(tokens=tokens)
    wanted = net(x)[0].detach()
    with torch.no_grad():
        assert torch.equal(net(x)[0], wanted)
    with torch.inference_mode():
        assert torch.equal(net(x)[0], wanted)


def test_the_form_depends_on_the_arguments_alone():
    """Of the operation, too: not on whether a graph is being made."""
    q, k, v = (torch.randn(1, 9, 2, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    k.requires_grad_()
    wanted, _ = gated_kalmanet(q, k, v)
    with torch.no_grad():
        assert torch.equal(gated_kalmanet(q, k, v)[0], wanted)


@MODES
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_change_no_bit(mode, use_reentrant):
    net, x = layer(mode=mode), inputs()
    wanted = gradients(net, x, lambda x: net(x)[0])
    found = gradients(net, x, lambda x: checkpoint(lambda x: net(x)[0], x, use_reentrant=use_reentrant))
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize(("batch", "tokens"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_nothing_to_read(batch, tokens, masked):
    net, x = layer(), inputs(batch, tokens).requires_grad_()
    o, info, cache = net(
        x,
        attention_mask=torch.ones(batch, tokens, dtype=torch.bool) if masked else None,
        past_key_values=Cache(), use_cache=True, return_info=True,
    )  # fmt: skip
    assert o.shape == (batch, tokens, 24)
    assert info.iterations.numel() == 0
    assert len(cache) == 1
    o.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(("batch", "tokens", "heads"), [(0, 5, 2), (2, 0, 2), (0, 0, 2), (2, 3, 0)])
@pytest.mark.parametrize("form", ["auto", "chunk", "recurrent"])
@pytest.mark.parametrize("solver", ["chebyshev", "cg", "exact"])
def test_nothing_to_regress(batch, tokens, heads, form, solver):
    shapes = [(batch, tokens, heads, 4)] * 3 + [(batch, tokens, heads)] * 4
    q, k, v, g, gk, alpha, beta = leaves = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    state = [torch.ones(batch, heads, 4, 4, requires_grad=True) for _ in range(2)]
    o, (H, U) = gated_kalmanet(
        q, k, v, g, gk, alpha, beta, initial_state=state, output_final_state=True, form=form, solver=solver
    )
    (o.sum() + H.sum() + U.sum()).backward()
    for leaf in (*leaves, *state):
        assert leaf.grad is None or leaf.grad.shape == leaf.shape
    if not tokens:
        assert state[0].grad.eq(1).all()
        assert state[1].grad.eq(1).all()


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ([[-math.inf, 0, 0], [0, 0, 0]], "-inf"),
        ([[torch.finfo(torch.float32).min, 0, 0], [0, 0, 0]], "-3.40"),
        ([[0.0, 0, 0], [0, 0, 0]], "zeros alone"),
        ([[math.nan, 1, 1], [1, 1, 1]], "nan"),
        ([[0.5, 1, 1], [1, 1, 1]], "0.5"),
    ],
)
def test_an_additive_mask_is_refused(mask, found):
    with pytest.raises(ValueError, match=f"attention_mask: found {found}.*; wanted 1 for tokens and 0 for padding"):
        layer()(inputs(tokens=3), attention_mask=torch.tensor(mask))


def test_numbers_of_sequences_are_no_mask():
    with pytest.raises(ValueError, match="attention_mask: found 2; wanted 1 for tokens and 0 for padding"):
        layer()(inputs(tokens=3), attention_mask=torch.tensor([[1, 1, 2], [1, 2, 2]]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_masks_of_any_type(dtype):
    net, x, mask = layer(), inputs(tokens=3), torch.tensor([[0, 1, 1], [1, 1, 0]])
    assert torch.equal(net(x, attention_mask=mask.to(dtype))[0], net(x, attention_mask=mask)[0])


@pytest.mark.parametrize("packed", [False, True])
def test_a_cache_of_another_batch_is_refused(packed):
    net, cache = layer().eval(), Cache()
    net(inputs(3), past_key_values=cache, use_cache=True)
    kept = cache[0]
    x, options = (inputs(1), {"cu_seqlens": torch.tensor([0, 4, 11])}) if packed else (inputs(2), {})
    with pytest.raises(ValueError, match="past_key_values: found states of 3 sequences; wanted 2"):
        net(x, past_key_values=cache, use_cache=True, **options)
    assert cache[0] is kept
    assert cache.get_seq_length() == 11


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("solver", ["cg", "exact", pytest.param("chebyshev", marks=pytest.mark.slow)])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_bad_token_changes_none_before_it(training, solver, bad, place):
    net, x = layer(solver=solver).train(training), inputs(tokens=40)
    wanted = net(x)[0].detach()
    x[0, place, 3] = bad
    for grad in (torch.enable_grad, torch.no_grad):
        with grad():
            found = net(x)[0].detach()
            if training or grad is torch.enable_grad:
                assert torch.equal(found[0, :place], wanted[0, :place])
                assert torch.equal(found[1], wanted[1])
            else:
                torch.testing.assert_close(found[0, :place], wanted[0, :place], rtol=1e-2, atol=1e-3)
            assert found[0, place:].isnan().all()


def test_bad_tokens_leave_the_gradients_of_those_before_them():
    q, k, v = (torch.randn(1, 40, 2, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    k[:, 20], v[:, 30] = math.nan, math.inf
    found, wanted = (
        torch.autograd.grad(gated_kalmanet(*parts, form="chunk", validate=False)[0][:, :20].square().sum(), parts)
        for tokens in (40, 20)
        for parts in [[part[:, :tokens].clone().requires_grad_() for part in (q, k, v)]]
    )
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got[:, :20], want, rtol=1e-3, atol=1e-4)
        assert got[:, 20:].eq(0).all()


@pytest.mark.parametrize("name", ["q", "k", "v", "g", "gk", "alpha", "beta"])
@pytest.mark.parametrize("form", ["chunk", "compiled"])
def test_what_one_bad_argument_reaches(name, form):
    """Its own token, and those that follow where it is written; other heads and sequences never."""
    shapes = {"q": (2, 40, 2, 4), "k": (2, 40, 2, 4), "v": (2, 40, 2, 3)}
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    values |= {
        n: torch.rand(2, 40, 2, generator=generator) - float(n in ("g", "gk")) for n in ("g", "gk", "alpha", "beta")
    }
    wanted, state_wanted = gated_kalmanet(**values, form=form, output_final_state=True)
    values[name][0, 20, 1] = math.nan
    found, state = gated_kalmanet(**values, form=form, validate=False, output_final_state=True)
    reached = torch.zeros(2, 40, 2, dtype=torch.bool)
    reached[0, 20 if name in ("q", "alpha") else slice(20, None), 1] = True
    assert torch.equal(found.isnan().any(-1), reached)
    assert torch.equal(found[~reached], wanted[~reached])
    for part, want, writers in zip(state, state_wanted, (("k", "gk", "beta"), ("k", "v", "g", "beta")), strict=True):
        assert bool(part[0, 1].isnan().any()) == (name in writers)
        rest = ~part.isnan()
        assert torch.equal(part[rest], want[rest])
        assert rest[1].all()


@pytest.mark.parametrize(
    ("name", "like"),
    [("ridge_ration", "ridge_ratio"), ("num_head", "num_heads"), ("hidden", "hidden_size"), ("solvers", "solver")],
)
def test_unknown_settings_are_refused(name, like):
    with pytest.raises(ValueError, match=rf"{name}: is not a setting of GatedKalmaNet; .*did you mean '{like}'"):
        layer(**{name: 1})


def test_unknown_settings_like_none_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"vocab: is not a setting .*; there are hidden_size, .*, interval"):
        layer(vocab=3)
