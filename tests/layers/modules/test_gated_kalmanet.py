"""The layer: against its definition written out, and the ways of feeding it against each other."""

import math
import re

import pytest
import torch
from torch.nn.functional import conv1d, pad, silu, softplus

from resolvent.layers import Cache, GatedKalmaNet


def layer(seed=0, **changes):
    """A small layer in double precision, its regressions solved to 1e-12."""
    torch.manual_seed(seed)
    settings = {"hidden_size": 24, "head_dim": 6, "num_heads": 4, "layer_idx": 0, "rtol": 1e-12} | changes
    return GatedKalmaNet(**settings).double()


def inputs(batch=2, tokens=11, seed=1, size=24):
    return torch.randn(batch, tokens, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def written_out(net, x, groups=(1, 1, 1)):
    """The layer token by token from its formulas, with all parts switched on; for one sequence."""

    def heads(projection, convolution, group):
        y = projection(x).transpose(1, 2)
        y = silu(conv1d(pad(y, (3, 0)), convolution.weight, groups=y.shape[1])).transpose(1, 2)
        y = y.unflatten(-1, (net.heads // group, -1))
        return torch.stack([y[:, :, h // group] for h in range(net.heads)], 2)

    q, k, v = (
        heads(*pair, group)
        for pair, group in zip(
            ((net.q_proj, net.q_conv1d), (net.k_proj, net.k_conv1d), (net.v_proj, net.v_conv1d)), groups, strict=True
        )
    )
    q, k = (y / torch.sqrt((y * y).sum(-1, keepdim=True) + 1e-6) for y in (q, k))
    beta = torch.sigmoid(net.b_proj(x)) + 1e-6
    k, v = beta[..., None] * k, beta[..., None] * v
    alpha = torch.sigmoid(net.alpha_proj(x))
    decay = torch.exp(-torch.exp(net.A_log) * softplus(net.a_proj(x) + net.dt_bias))
    outputs = []
    for h in range(net.heads):
        H = torch.zeros(net.head_dim, net.head_dim, dtype=x.dtype)
        U = torch.zeros(net.head_dim, net.head_v_dim, dtype=x.dtype)
        tokens = []
        for t in range(x.shape[1]):
            H = decay[0, t, h] * H + torch.outer(k[0, t, h], k[0, t, h])
            U = decay[0, t, h] * U + torch.outer(k[0, t, h], v[0, t, h])
            A = H + 0.02 * torch.linalg.norm(H) * torch.eye(net.head_dim, dtype=x.dtype)
            solved = torch.linalg.solve(A, q[0, t, h])
            mixed = q[0, t, h] + alpha[0, t, h] * (solved - q[0, t, h])
            o = U.T @ mixed / math.sqrt(net.head_dim)
            o = o / torch.sqrt((o * o).mean() + 1e-6) * net.o_norm.weight
            tokens.append(o)
        outputs.append(torch.stack(tokens))
    o = torch.stack(outputs, 1) * silu(net.g_proj(x)).unflatten(-1, (net.heads, -1))[0]
    return net.o_proj(o.flatten(1))[None]


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({}, (1, 1, 1)),
        ({"num_kv_heads": 2}, (1, 2, 2)),
        ({"num_heads": 2, "num_v_heads": 4}, (2, 2, 1)),
        ({"expand_v": 1.5}, (1, 1, 1)),
    ],
)
def test_it_is_what_its_formulas_say(changes, groups):
    net, x = layer(**changes), inputs(1)
    torch.testing.assert_close(net(x)[0], written_out(net, x, groups), atol=1e-9, rtol=0)


PARTS = ("use_beta_gate", "use_alpha_connection", "use_v_conv", "use_forgetting_gate", "use_gate")


@pytest.mark.parametrize("part", [*PARTS, "use_forgetting_gate_kk", "gla_rescale"])
def test_a_part_switched_off_is_gone(part):
    with_it, without = layer(), layer(**{part: False})
    shared = without.state_dict()
    missing = set(with_it.state_dict()) - set(shared)
    assert bool(missing) == (part in PARTS)
    without.load_state_dict({name: value for name, value in with_it.state_dict().items() if name in shared})
    x = inputs()
    difference = (with_it(x)[0] - without(x)[0]).abs().max()
    # The norm of each head undoes a factor, but for its epsilon.
    assert difference < 1e-2 if part == "gla_rescale" else difference > 1e-4


def test_the_names_of_its_parameters_are_those_of_the_released_layer():
    assert {name: tuple(value.shape) for name, value in layer(num_kv_heads=2).state_dict().items()} == {
        "A_log": (4,),
        "dt_bias": (4,),
        "q_proj.weight": (24, 24),
        "k_proj.weight": (12, 24),
        "v_proj.weight": (12, 24),
        "q_conv1d.weight": (24, 1, 4),
        "k_conv1d.weight": (12, 1, 4),
        "v_conv1d.weight": (12, 1, 4),
        "b_proj.weight": (4, 24),
        "b_proj.bias": (4,),
        "alpha_proj.weight": (4, 24),
        "alpha_proj.bias": (4,),
        "a_proj.weight": (4, 24),
        "g_proj.weight": (24, 24),
        "o_norm.weight": (6,),
        "o_proj.weight": (24, 24),
    }


def test_it_starts_as_documented():
    net = GatedKalmaNet(hidden_size=64, head_dim=4, num_heads=512)
    rate, step = net.A_log.exp(), softplus(net.dt_bias)
    assert 0 <= rate.min() < 0.3
    assert 15.7 < rate.max() <= 16
    assert 1e-3 * 0.999 <= step.min() < 1.2e-3
    assert 0.08 < step.max() <= 0.1 * 1.001
    assert net.A_log._no_weight_decay
    assert net.dt_bias._no_weight_decay


@pytest.mark.parametrize("cuts", [(1,), (4,), (10,), (2, 3, 7), tuple(range(1, 11))])
@pytest.mark.parametrize("mode", ["chunk", "fused_recurrent"])
def test_a_cache_continues_a_sequence(cuts, mode):
    net, x = layer(mode=mode).eval(), inputs()
    with torch.no_grad():
        whole, _, none = net(x)
        cache, parts = Cache(), []
        for start, end in zip((0, *cuts), (*cuts, 11), strict=True):
            o, _, cache = net(x[:, start:end], past_key_values=cache, use_cache=True)
            parts.append(o)
    assert none is None
    assert cache.get_seq_length() == 11
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("solver", ["chebyshev", "cg", "exact"])
def test_one_by_one_with_any_solver(solver):
    net, x = layer(mode="fused_recurrent", solver=solver, rtol=None if solver == "exact" else 1e-12).eval(), inputs()
    with torch.no_grad():
        torch.testing.assert_close(net(x)[0], layer(solver="exact", rtol=None)(x)[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "mask", [[[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]], [[1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0]], [[0] * 6, [1] * 6]]
)
def test_padding_is_as_if_it_were_not_there(mask):
    net, x, mask = layer(), inputs(tokens=6), torch.tensor(mask)
    o, info, _ = net(x, attention_mask=mask, return_info=True)
    assert info.relative_residual.shape == (1, int(mask.sum()), 4)
    assert info.relative_residual.max() <= 1.1e-12
    for row, real, got in zip(x, mask.bool(), o, strict=True):
        assert got[~real].abs().sum() == 0
        if real.any():
            torch.testing.assert_close(got[real], net(row[real][None])[0][0], atol=1e-9, rtol=0)


def test_a_padded_prompt_continues_in_a_batch():
    net, x = layer().eval(), inputs(tokens=8)
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
        torch.testing.assert_close(o[0, 3:], net(x[:1, 3:])[0][0], atol=1e-9, rtol=0)
        torch.testing.assert_close(o[1], net(x[1:])[0][0], atol=1e-9, rtol=0)


def test_packed_sequences_win_over_a_mask_and_are_as_if_alone():
    net, x = layer(), inputs(1, 11)
    o, _, _ = net(x, cu_seqlens=torch.tensor([0, 3, 3, 4, 11]), attention_mask=torch.zeros(1, 11))
    alone = torch.cat([net(x[:, a:b])[0] for a, b in ((0, 3), (3, 4), (4, 11))], 1)
    torch.testing.assert_close(o, alone, atol=1e-9, rtol=0)


def test_gradients_are_those_of_the_formulas():
    net, x = layer(), inputs(1, 7)
    weights = torch.randn(1, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    parameters = dict(net.named_parameters())
    found = torch.autograd.grad((net(x)[0] * weights).sum(), parameters.values())
    wanted = torch.autograd.grad((written_out(net, x) * weights).sum(), parameters.values())
    for name, got, want in zip(parameters, found, wanted, strict=True):
        assert torch.linalg.norm(got - want) <= 1e-8 * torch.linalg.norm(want), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_near_double(dtype):
    net, x = layer(rtol=None), inputs()
    wanted = net(x)[0]
    found = net.to(dtype)(x.to(dtype))[0]
    assert found.dtype == dtype
    error = torch.linalg.norm(found.double() - wanted) / torch.linalg.norm(wanted)
    assert error < {torch.bfloat16: 5e-2, torch.float16: 1e-2, torch.float32: 1e-3}[dtype]


def test_autocast_keeps_the_regression_in_single_precision():
    net, x = layer(rtol=None).float(), inputs().float()
    wanted = net(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, info, _ = net(x, return_info=True)
    assert torch.linalg.norm(found.float() - wanted) < 5e-2 * torch.linalg.norm(wanted)
    assert info.relative_residual.max() < 3.1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "parallel"}, "mode: found 'parallel'"),
        ({"num_kv_heads": 3}, "num_kv_heads: found 3; wanted a divisor of num_heads = 4"),
        ({"num_v_heads": 6}, "num_v_heads: found 6; wanted a multiple of num_heads = 4"),
        ({"num_kv_heads": 2, "num_v_heads": 8}, "num_kv_heads and num_v_heads: found both"),
        ({"expand_v": 0.3}, "expand_v: found 0.3"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        layer(**changes)


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match=r"attention_mask: found shape \(2, 11, 11\); wanted \(2, 11\)"):
        layer()(inputs(), attention_mask=torch.ones(2, 11, 11))
    with pytest.raises(ValueError, match="layer_idx: found None"):
        layer(layer_idx=None)(inputs(), past_key_values=Cache())


def test_a_cache_holds_layers_in_any_order():
    cache = Cache()
    assert len(cache) == 0
    assert 0 not in cache
    cache.update(layer_idx=1, offset=3, recurrent_state=None)
    cache.update(layer_idx=1, offset=2, recurrent_state="new")
    assert len(cache) == 2
    assert 1 in cache
    assert 0 not in cache
    assert cache[1] == {"recurrent_state": "new"}
    assert cache.get_seq_length(1) == 5
    assert cache.get_seq_length(0) == 0


@pytest.mark.parametrize("shape", [(2, 5, 33), (5, 24), (2, 24, 5), (1, 2, 5, 24)])
def test_another_width_names_the_one_that_was_wanted(shape):
    said = rf"hidden_states: found shape {re.escape(str(shape))}; wanted \(B, T, 24\), where 24 is hidden_size"
    for grad in (torch.no_grad(), torch.enable_grad()):
        with grad, pytest.raises(ValueError, match=said):
            layer()(torch.ones(shape, dtype=torch.float64))
