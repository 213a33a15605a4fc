"""The layers of the family against their formulas written out, and the ways of feeding them against each other."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers import Cache  # noqa: E402

from .written_out import LAYERS, SIZE, TOKENS  # noqa: E402

EACH = pytest.mark.parametrize("layer", LAYERS, ids=str)
WITH_SETTINGS = pytest.mark.parametrize(
    ("layer", "changes"),
    [(layer, changes) for layer in LAYERS for changes in ({}, *layer.variants)],
    ids=lambda part: str(part) if not isinstance(part, dict) else ",".join(part) or "plain",
)


def inputs(batch=2, tokens=TOKENS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, SIZE, dtype=torch.float64, generator=generator)


@pytest.mark.whole_grid
@WITH_SETTINGS
def test_it_is_what_its_formulas_say(layer, changes):
    net, x = layer.make(**changes), inputs(1)
    torch.testing.assert_close(net(x)[0][0], layer.formula(net, x[0]), atol=1e-10, rtol=1e-10)


@EACH
def test_gradients_are_those_of_the_formulas(layer):
    net, x = layer.make(), inputs(1, 7)
    weights = torch.randn(7, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    parameters = dict(net.named_parameters())
    found = torch.autograd.grad((net(x)[0][0] * weights).sum(), parameters.values())
    wanted = torch.autograd.grad((layer.formula(net, x[0]) * weights).sum(), parameters.values())
    for name, got, want in zip(parameters, found, wanted, strict=True):
        assert torch.linalg.norm(got - want) <= 1e-9 * (torch.linalg.norm(want) + 1e-3), name


MODES = pytest.mark.parametrize("mode", ["chunk", "fused_recurrent"])


@EACH
@MODES
@pytest.mark.parametrize("cuts", [(1,), (4,), (2, 3, 7), tuple(range(1, TOKENS))])
def test_a_cache_continues_a_sequence(layer, mode, cuts):
    several = len(layer.kind.modes) > 1
    if mode != "chunk" and not several:
        pytest.skip("it has one mode")
    net, x = layer.make(**({"mode": mode} if several else {})).eval(), inputs()
    with torch.no_grad():
        whole, _, none = net(x)
        cache, parts = Cache(), []
        for start, end in zip((0, *cuts), (*cuts, TOKENS), strict=True):
            o, _, cache = net(x[:, start:end], past_key_values=cache, use_cache=True)
            parts.append(o)
    assert none is None
    assert cache.get_seq_length() == TOKENS
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-11, rtol=0)


@EACH
@pytest.mark.parametrize(
    "mask", [[[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]], [[1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0]], [[0] * 6, [1] * 6]]
)
def test_padding_is_as_if_it_were_not_there(layer, mask):
    net, x, mask = layer.make(), inputs(tokens=6).requires_grad_(), torch.tensor(mask)
    o, _, _ = net(x, attention_mask=mask)
    for row, real, got in zip(x, mask.bool(), o, strict=True):
        assert got[~real].abs().sum() == 0
        if real.any():
            torch.testing.assert_close(got[real], net(row[real][None])[0][0], atol=1e-11, rtol=0)
    (gradient,) = torch.autograd.grad(o.sin().sum(), x)
    assert gradient.isfinite().all()
    assert gradient[~mask.bool()].abs().sum() == 0


@EACH
def test_padding_alone_gives_zeros(layer):
    net, x = layer.make(), inputs(tokens=3)
    assert not net(x, attention_mask=torch.zeros(2, 3, dtype=torch.long))[0].any()


@EACH
def test_a_padded_prompt_continues_in_a_batch(layer):
    net, x = layer.make().eval(), inputs(tokens=8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    with torch.no_grad():
        cache = Cache()
        parts = [
            net(x[:, :5], attention_mask=mask[:, :5], past_key_values=cache, use_cache=True)[0],
            net(x[:, 5:7], attention_mask=mask[:, :7], past_key_values=cache, use_cache=True)[0],
            net(x[:, 7:], past_key_values=cache, use_cache=True)[0],
        ]
        o = torch.cat(parts, 1)
        torch.testing.assert_close(o[0, 3:], net(x[:1, 3:])[0][0], atol=1e-11, rtol=0)
        torch.testing.assert_close(o[1], net(x[1:])[0][0], atol=1e-11, rtol=0)


@EACH
def test_packed_sequences_win_over_a_mask_and_are_as_if_alone(layer):
    net, x, ends = layer.make(), inputs(1), torch.tensor([0, 3, 3, 4, TOKENS])
    o, _, cache = net(
        x[:, :TOKENS], cu_seqlens=ends, attention_mask=torch.zeros(1, TOKENS), past_key_values=Cache(), use_cache=True
    )
    alone = torch.cat([net(x[:, a:b])[0] for a, b in ((0, 3), (3, 4), (4, TOKENS))], 1)
    torch.testing.assert_close(o, alone, atol=1e-11, rtol=0)
    more = inputs(1, 4, seed=2)
    o, _, _ = net(more, cu_seqlens=torch.arange(5), past_key_values=cache)
    whole = torch.cat([x[:, 4:], more[:, 3:]], 1)
    torch.testing.assert_close(o[:, 3], net(whole)[0][:, -1], atol=1e-11, rtol=0)
    torch.testing.assert_close(o[:, 1], net(more[:, 1:2])[0][:, 0], atol=1e-11, rtol=0)


@EACH
@pytest.mark.parametrize(("batch", "tokens"), [(0, 5), (2, 0), (0, 0)])
def test_nothing_to_read(layer, batch, tokens):
    net, x = layer.make(), inputs(batch, tokens).requires_grad_()
    o, _, cache = net(x, past_key_values=Cache(), use_cache=True)
    assert o.shape == (batch, tokens, SIZE)
    assert len(cache) == 1
    o.sum().backward()
    assert x.grad is None or x.grad.shape == x.shape


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lower_precision_is_near_double(layer, dtype):
    net, x = layer.make(), inputs()
    wanted = net(x)[0]
    found = net.to(dtype)(x.to(dtype))[0]
    assert found.dtype == dtype
    error = torch.linalg.norm(found.double() - wanted) / torch.linalg.norm(wanted)
    assert error < {torch.bfloat16: 5e-2, torch.float32: 1e-4}[dtype]


@EACH
def test_autocast_is_near_single_precision(layer):
    net, x = layer.make().float(), inputs().float()
    wanted = net(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x)[0]
    assert torch.linalg.norm(found.float() - wanted) < 5e-2 * torch.linalg.norm(wanted)
    found.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@EACH
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e4])
def test_gradients_stay_finite(layer, scale):
    net, x = layer.make(), (scale * inputs()).requires_grad_()
    net(x)[0].sin().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
