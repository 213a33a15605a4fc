"""Published weights: state dicts as the published constructors name and shape them, and what cannot be mapped."""

from inspect import signature
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import linear, silu, softplus  # noqa: E402

from resolvent.layers import (  # noqa: E402
    DeltaNet,
    GatedDeltaNet,
    GatedDeltaProduct,
    GatedKalmaNet,
    KimiDeltaAttention,
    LinearAttention,
    Mamba2,
    MesaNet,
)

from .written_out import SIZE, gated_delta_net, kimi, linear_attention, mamba2, mesa  # noqa: E402


def drawn(shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return {
        name: (0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        for name, shape in shapes.items()
    }


def inputs(tokens=7):
    return torch.randn(1, tokens, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Names and shapes in flash-linear-attention's layers, of 24 inputs, 2 heads of 6, or 4 that share the inputs.
OF_LENGTH = {"hidden_size": 24, "head_dim": 6, "num_heads": 2}
FORGETTING = {"a_proj.weight": (2, 24), "A_log": (2,), "dt_bias": (2,)}
CONVOLUTIONS = {f"{name}_conv1d.weight": (12, 1, 4) for name in "qkv"}
PROJECTIONS = {f"{name}_proj.weight": (12, 24) for name in "qkv"} | {"o_proj.weight": (24, 12)}
PUBLISHED = [
    (
        DeltaNet, {"mode": "chunk", "hidden_size": 24, "num_heads": 4, "use_gate": True, "conv_bias": True},
        {f"{name}_proj.weight": (24, 24) for name in "qkvgo"}
        | {f"{name}_conv1d.weight": (24, 1, 4) for name in "qkv"} | {f"{name}_conv1d.bias": (24,) for name in "qkv"}
        | {"b_proj.weight": (4, 24), "o_norm.weight": (6,)},
    ),
    (
        GatedDeltaNet, OF_LENGTH | {"num_v_heads": 4, "expand_v": 2.0},
        PROJECTIONS | CONVOLUTIONS
        | {"v_proj.weight": (48, 24), "v_conv1d.weight": (48, 1, 4), "a_proj.weight": (4, 24), "b_proj.weight": (4, 24)}
        | {"A_log": (4,), "dt_bias": (4,), "g_proj.weight": (48, 24), "o_norm.weight": (12,)}
        | {"o_proj.weight": (24, 48)},
    ),
    (
        GatedDeltaProduct, OF_LENGTH | {"expand_v": 1.0, "num_householder": 3},
        PROJECTIONS | CONVOLUTIONS | FORGETTING
        | {f"{name}_proj.weight": (36, 24) for name in "kv"} | {f"{name}_conv1d.weight": (36, 1, 4) for name in "kv"}
        | {"b_proj.weight": (6, 24), "g_proj.weight": (12, 24), "o_norm.weight": (6,)},
    ),
    (
        KimiDeltaAttention, OF_LENGTH | {"safe_gate": True, "lower_bound": -5.0},
        PROJECTIONS | CONVOLUTIONS
        | {"f_proj.0.weight": (6, 24), "f_proj.1.weight": (12, 6), "b_proj.weight": (2, 24)}
        | {"A_log": (1, 1, 2, 1), "dt_bias": (12,), "o_norm.weight": (6,)}
        | {"g_proj.0.weight": (6, 24), "g_proj.1.weight": (12, 6), "g_proj.1.bias": (12,)},
    ),
    (
        MesaNet, OF_LENGTH | {"max_cg_step_training": 12, "lambda_lower_bound": 0.25},
        PROJECTIONS | {name: shape for name, shape in CONVOLUTIONS.items() if name[0] != "v"}
        | {"a_proj.weight": (2, 24), "a_proj.bias": (2,), "b_proj.weight": (2, 24), "b_proj.bias": (2,)}
        | {"lambda_params": (12,), "o_norm.weight": (6,)},
    ),
    (
        LinearAttention, {"hidden_size": 24, "num_heads": 4, "num_kv_heads": 2, "feature_map": "hedgehog"},
        {"q_proj.weight": (24, 24), "k_proj.weight": (12, 24), "v_proj.weight": (12, 24), "o_proj.weight": (24, 24)}
        | {f"feature_map_{name}.layer.weight": (6, 6) for name in "qk"}
        | {f"feature_map_{name}.layer.bias": (6,) for name in "qk"} | {"norm.weight": (6,)},
    ),
    (
        LinearAttention, {"hidden_size": 24, "num_heads": 4, "tie_feature_map_qk": True},
        {f"{name}_proj.weight": (24, 24) for name in "qkvo"} | {"norm.weight": (6,)}
        | {f"feature_map_{x}.layer{i}.weight": (6, 6) for x in "qk" for i in "12"}
        | {f"feature_map_{x}.layer{i}.bias": (6,) for x in "qk" for i in "12"},
    ),
    (
        Mamba2, {"hidden_size": 24, "head_dim": 12, "state_size": 5, "n_groups": 2, "chunk_size": 9, "backend": "cuda"},
        {"in_proj.weight": (48 + 68 + 4, 24), "conv1d.weight": (68, 1, 4), "conv1d.bias": (68,), "dt_bias": (4,)}
        | {"A_log": (4,), "D": (4,), "norm.weight": (48,), "out_proj.weight": (24, 48)},
    ),
    (
        GatedKalmaNet, OF_LENGTH | {"num_iter": 20},
        PROJECTIONS | CONVOLUTIONS | FORGETTING
        | {f"{name}_proj.weight": (2, 24) for name in ("b", "alpha")}
        | {f"{name}_proj.bias": (2,) for name in ("b", "alpha")}
        | {"g_proj.weight": (12, 24), "o_norm.weight": (6,)},
    ),
]  # fmt: skip
DEFAULTS = {
    DeltaNet: {
        "mode": "chunk", "d_model": None, "hidden_size": 1024, "expand_k": 1.0, "expand_v": 1.0, "num_heads": 4,
        "use_beta": True, "use_gate": False, "use_short_conv": True, "conv_size": 4, "conv_bias": False,
        "allow_neg_eigval": False, "layer_idx": None, "qk_activation": "silu", "qk_norm": "l2", "norm_eps": 1e-5,
    },
    GatedDeltaNet: {
        "hidden_size": 2048, "expand_v": 2, "head_dim": 256, "num_heads": 6, "num_v_heads": None, "mode": "chunk",
        "use_gate": True, "use_short_conv": True, "allow_neg_eigval": False, "conv_size": 4, "conv_bias": False,
        "layer_idx": None, "norm_eps": 1e-5, "output_gate_activation": "swish",
    },
    GatedDeltaProduct: {
        "hidden_size": 2048, "expand_v": 2, "head_dim": 256, "num_heads": 6, "num_v_heads": None, "mode": "chunk",
        "use_output_gate": True, "use_short_conv": True, "conv_size": 4, "conv_bias": False, "layer_idx": None,
        "norm_eps": 1e-5, "use_forget_gate": True, "allow_neg_eigval": True, "num_householder": 2,
    },
    KimiDeltaAttention: {
        "hidden_size": 2048, "expand_v": 1, "head_dim": 128, "num_heads": 16, "num_v_heads": None, "mode": "chunk",
        "use_short_conv": True, "allow_neg_eigval": False, "safe_gate": False, "lower_bound": None, "conv_size": 4,
        "conv_bias": False, "layer_idx": None, "norm_eps": 1e-5,
    },
    MesaNet: {
        "hidden_size": 2048, "num_heads": 16, "head_dim": 128, "mode": "chunk", "use_output_gate": False,
        "use_short_conv": True, "conv_size": 4, "conv_bias": False, "layer_idx": None, "norm_eps": 1e-5,
        "lambda_lower_bound": 0.25, "max_cg_step_training": 30, "max_cg_step_decoding": 30,
    },
    LinearAttention: {
        "mode": "chunk", "hidden_size": 1024, "expand_k": 1.0, "expand_v": 1.0, "num_heads": 8, "num_kv_heads": None,
        "feature_map": "elementwise_product", "tie_feature_map_qk": False, "output_norm": "rmsnorm", "norm_q": False,
        "norm_k": False, "do_feature_map_norm": False, "elementwise_affine": True, "norm_eps": 1e-5, "layer_idx": None,
    },
    Mamba2: {
        "num_heads": None, "head_dim": 64, "hidden_size": 2048, "state_size": 128, "expand": 2, "n_groups": 1,
        "conv_kernel": 4, "conv_init": None, "use_conv_bias": True, "hidden_act": "silu", "A_init_range": (1, 16),
        "D_has_hdim": False, "rmsnorm": True, "norm_before_gate": False, "dt_min": 0.001, "dt_max": 0.1,
        "dt_init_floor": 1e-4, "dt_limit": (0.0, float("inf")), "use_bias": False, "norm_eps": 1e-5, "layer_idx": None,
    },
}  # fmt: skip


@pytest.mark.whole_grid
@pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)
def test_settings_by_position_and_their_defaults_are_those_published(kind):
    parameters = signature(kind).parameters.values()
    by_position = {each.name: each.default for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD}
    assert list(by_position.items()) == list(DEFAULTS[kind].items())


def test_they_start_as_published():
    torch.manual_seed(0)
    kimi = KimiDeltaAttention(hidden_size=8, head_dim=2, num_heads=400)
    assert 1 <= kimi.A_log.exp().min() < 1.2
    assert 15.8 < kimi.A_log.exp().max() <= 16 * 1.001
    assert 1e-3 * 0.999 <= softplus(kimi.dt_bias).min() < 1.2e-3
    assert not KimiDeltaAttention(8, head_dim=2, num_heads=4, safe_gate=True, lower_bound=-5).A_log.any()
    mesa = MesaNet(hidden_size=8, head_dim=2, num_heads=2)
    torch.testing.assert_close(0.25 + softplus(mesa.lambda_params), torch.ones(4))
    mamba = Mamba2(hidden_size=512, head_dim=2, state_size=2, conv_init=0.01)
    assert 1 <= mamba.A_log.exp().min() < 1.2
    assert mamba.D.eq(1).all()
    assert mamba.conv1d.weight.abs().max() <= 0.01
    hedgehog = LinearAttention(hidden_size=8, num_heads=2, feature_map="hedgehog").feature_map_q
    assert torch.equal(hedgehog.layer.weight, torch.eye(4))
    assert not hedgehog.layer.bias.any()


FORMULAS = {
    GatedDeltaNet: gated_delta_net,
    KimiDeltaAttention: kimi,
    MesaNet: mesa,
    LinearAttention: linear_attention,
    Mamba2: mamba2,
}


@pytest.mark.whole_grid
@pytest.mark.parametrize(("kind", "config", "shapes"), PUBLISHED, ids=lambda part: getattr(part, "__name__", ""))
def test_published_weights_are_taken_as_they_are(kind, config, shapes):
    weights = drawn(shapes)
    if "tie_feature_map_qk" in config:
        weights |= {name: weights[name.replace("map_k", "map_q")] for name in weights if "map_k" in name}
    model = {f"model.layers.3.attn.{name}": weight for name, weight in weights.items()} | {"lm_head": torch.ones(2)}
    net = kind.from_released(model, config, prefix="model.layers.3.attn.", layer_idx=3)
    assert net.layer_idx == 3
    assert set(net.state_dict()) == set(weights)
    for name, parameter in net.state_dict().items():
        assert parameter.dtype == torch.float64
        assert torch.equal(parameter.squeeze(), weights[name].squeeze()), name
        assert parameter.data_ptr() != weights[name].data_ptr()
    for name in ("A_log", "dt_bias", "lambda_params"):
        if name in weights:
            assert getattr(net, name)._no_weight_decay
    o = net(inputs())[0]
    assert o.isfinite().all()
    if kind in FORMULAS:
        torch.testing.assert_close(o[0], FORMULAS[kind](net, inputs()[0]), atol=1e-7, rtol=1e-7)


def test_weights_keep_their_type_and_settings_may_be_attributes():
    kind, config, shapes = PUBLISHED[0]
    net = kind.from_released(drawn(shapes, torch.bfloat16), SimpleNamespace(**config))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.bfloat16}


HYBRID = {"hidden_size": 24, "head_dim": 6, "num_q_heads": 4, "num_k_heads": 2, "num_v_heads": 2}
GATES = {"a_proj.weight": (4, 24), "A_log": (4,), "dt_bias": (4,), "g_proj.weight": (24, 24), "o_norm.weight": (6,)}
SHARED = {
    "q_proj.weight": (24, 24), "k_proj.weight": (12, 24), "v_proj.weight": (12, 24), "o_proj.weight": (24, 24),
    "q_conv1d.weight": (24, 1, 4), "k_conv1d.weight": (12, 1, 4), "v_conv1d.weight": (12, 1, 4),
}  # fmt: skip
LEARNED = {
    f"{name}_proj.{part}": shape for name in ("b", "alpha") for part, shape in (("weight", (4, 24)), ("bias", (4,)))
}
LOW_RANK = {
    f"proj_{name}.linear{part}.weight": shape for name in "kv" for part, shape in (("A", (3, 12)), ("B", (24, 3)))
}


def hybrid(**config):
    """The weights and settings of awslabs' Gated KalmaNet."""
    shapes = SHARED | GATES | LEARNED
    if "kv_proj_rank" in config:
        shapes |= LOW_RANK
    if config.get("kv_learnable_residual"):
        shapes |= {"k_rep": (4, 2), "v_rep": (4, 2)}
    return drawn(shapes), HYBRID | {"ridge_strength": 0.05, "num_iter": 25, "solver_type": "chebyshev"} | config


def test_the_layer_of_the_hybrid_models():
    weights, config = hybrid(bp_lambda=True, chunk_size=64, norm_eps=1e-5)
    net = GatedKalmaNet.from_released(weights, config)
    wanted = GatedKalmaNet(
        24, head_dim=6, num_heads=4, num_kv_heads=2, ridge_ratio=0.05, norm_eps=1e-5,
        num_iter=25, solver="chebyshev", interval="frobenius",
    ).double()  # fmt: skip
    wanted.load_state_dict(weights)
    assert torch.equal(net(inputs())[0], wanted(inputs())[0])
    exact = GatedKalmaNet.from_released(weights, config, rtol=1e-12)
    assert 0 < (exact(inputs())[0] - net(inputs())[0]).abs().max() < 1e-3


def test_without_its_forgetting_gate_the_weights_of_it_are_left_out():
    weights, config = hybrid(use_forgetting_gate=False)
    net = GatedKalmaNet.from_released(weights, config)
    other = GatedKalmaNet.from_released(*hybrid())
    assert set(other.state_dict()) - set(net.state_dict()) == {"a_proj.weight", "A_log", "dt_bias"}
    assert (net(inputs())[0] - other(inputs())[0]).abs().max() > 1e-3


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("kind", [GatedKalmaNet, GatedDeltaNet])
def test_projections_that_tell_shared_heads_apart(kind, learnable):
    """Keys of head h are those that serve it, or a mixture, plus B silu(A k) of all keys; so are values."""
    weights, config = hybrid(kv_proj_rank=3, kv_learnable_residual=learnable)
    if kind is GatedDeltaNet:
        config = {name: value for name, value in config.items() if name in HYBRID or name.startswith("kv")}
        weights = {name: weight for name, weight in weights.items() if name not in LEARNED}
        weights |= {"gk_proj.weight": weights.pop("a_proj.weight"), "b_proj.weight": torch.ones(4, 24).double()}
    net, x = kind.from_released(weights, config), inputs()
    plain = kind.from_released(
        {
            name: weight
            for name, weight in weights.items()
            if not name.startswith("proj_") and not name.endswith("_rep")
        },
        {name: value for name, value in config.items() if not name.startswith("kv")},
    )
    (_, k, v), _ = net._tokens(x, (None,) * 3, None)
    for name, found in (("k", k), ("v", v)):
        flat = getattr(plain, f"{name}_conv1d")(linear(x, weights[f"{name}_proj.weight"]))[0]
        heads = flat[0].reshape(7, 2, 6)
        mixing = weights[f"{name}_rep"] if learnable else torch.eye(2).repeat_interleave(2, 0).double()
        low = silu(flat[0] @ weights[f"proj_{name}.linearA.weight"].T) @ weights[f"proj_{name}.linearB.weight"].T
        wanted = torch.einsum("eh,thd->ted", mixing, heads) + low.reshape(7, 4, 6)
        torch.testing.assert_close(found[0], wanted)
    assert (net(x)[0] - plain(x)[0]).abs().max() > 1e-3


def test_new_projections_change_nothing():
    settings = {"hidden_size": 24, "head_dim": 6, "num_heads": 4, "num_kv_heads": 2}
    net = GatedKalmaNet(**settings, kv_proj_rank=3, kv_learnable_residual=True).double()
    plain = GatedKalmaNet(**settings).double()
    plain.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(net(inputs())[0], plain(inputs())[0], atol=1e-12, rtol=0)


def test_projections_where_nothing_is_shared_are_left_out():
    weights, config = hybrid(kv_proj_rank=3, num_q_heads=2, num_k_heads=None, num_v_heads=None)
    rows = {"q_proj.weight", "q_conv1d.weight", "g_proj.weight"}
    weights = {name: weight[:12] if name in rows else weight for name, weight in weights.items()}
    gates = {"a_proj.weight", "A_log", "dt_bias", *LEARNED}
    weights = {name: weight[:2] if name in gates else weight for name, weight in weights.items()}
    weights["o_proj.weight"] = weights["o_proj.weight"][:, :12]
    assert GatedKalmaNet.from_released(weights, config).proj_k is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver_type": "cg"}, "solver_type: found 'cg'; wanted 'chebyshev'"),
        ({"bp_lambda": False}, "bp_lambda: found False; wanted True"),
        ({"num_iter": 0}, "num_iter: found 0; wanted at least 1"),
        ({"num_v_heads": 4}, "num_q_heads, num_k_heads, num_v_heads: found 4, 2 and 4; wanted as many of keys as of"),
        ({"sketch_dim": 32}, "sketch_dim: is not a setting of GatedKalmaNet"),
        ({"use_v_conv": False}, "state_dict: found v_conv1d.weight; a GatedKalmaNet of these settings has nothing of"),
        ({"kv_proj_rank": 5}, r"proj_k.linearA.weight: found shape \(3, 12\); wanted \(5, 12\)"),
    ],
)
def test_what_cannot_be_mapped_is_named(changes, message):
    weights, config = hybrid(**changes)
    with pytest.raises(ValueError, match=message):
        GatedKalmaNet.from_released(weights, config)


def test_weights_that_are_missing_are_named():
    weights, config = hybrid()
    del weights["A_log"], weights["o_norm.weight"]
    with pytest.raises(ValueError, match=r"state_dict: found no A_log, o_norm.weight; a GatedKalmaNet of these"):
        GatedKalmaNet.from_released(weights, config)
    with pytest.raises(ValueError, match=r"prefix: found no weight whose name begins with 'attn\.'"):
        GatedKalmaNet.from_released(weights, config, prefix="attn.")
    with pytest.raises(TypeError, match="config: found int; wanted the published constructor's arguments by name"):
        GatedKalmaNet.from_released(weights, 3)
