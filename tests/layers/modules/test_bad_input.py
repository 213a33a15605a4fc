"""What the layers of the family refuse, and in which words."""

import re

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers import (  # noqa: E402
    AdaptiveFilterAttention,
    Cache,
    DeltaNet,
    GatedDeltaNet,
    GatedDeltaProduct,
    GatedKalmaNet,
    KalmanFilter,
    KimiDeltaAttention,
    LinearAttention,
    Mamba2,
)

from .written_out import LAYERS, OF_LENGTH, SHARING, SIZE  # noqa: E402

EACH = pytest.mark.parametrize("layer", LAYERS, ids=str)


def inputs(batch=2, tokens=5, size=SIZE):
    return torch.ones(batch, tokens, size, dtype=torch.float64)


@EACH
@pytest.mark.parametrize("shape", [(2, 5, SIZE + 1), (5, SIZE), (1, 2, 5, SIZE)])
def test_another_width_names_the_one_that_was_wanted(layer, shape):
    said = rf"hidden_states: found shape {re.escape(str(shape))}; wanted \(B, T, {SIZE}\), where {SIZE} is hidden_size"
    with pytest.raises(ValueError, match=said):
        layer.make()(torch.ones(shape, dtype=torch.float64))


@EACH
def test_masks_have_two_axes(layer):
    with pytest.raises(ValueError, match=r"attention_mask: found shape \(2, 5, 5\); wanted \(2, 5\) or more columns"):
        layer.make()(inputs(), attention_mask=torch.ones(2, 5, 5))
    with pytest.raises(TypeError, match="attention_mask: found list; wanted a torch tensor"):
        layer.make()(inputs(), attention_mask=[[1] * 5] * 2)


@EACH
@pytest.mark.parametrize(
    ("batch", "ends", "message"),
    [
        (2, [0, 5], "cu_seqlens: found a batch of 2; wanted sequences packed along T in a batch of 1"),
        (1, [0, 4], r"cu_seqlens: found \[0, 4\]; wanted to start with 0 and to end with T = 5"),
        (1, [0, 4, 2, 5], r"cu_seqlens: found \[0, 4, 2, 5\]; wanted numbers that do not decrease"),
        (1, [0.0, 5.0], r"cu_seqlens: found torch.float32 of the shape \(2,\); wanted integers"),
        (1, [0], "cu_seqlens: found 1 numbers; wanted to start with 0"),
    ],
)
def test_boundaries_that_do_not_fit(layer, batch, ends, message):
    with pytest.raises(ValueError, match=message):
        layer.make()(inputs(batch), cu_seqlens=torch.tensor(ends))


@EACH
def test_a_cache_needs_a_place(layer):
    with pytest.raises(ValueError, match="layer_idx: found None; a layer needs its place in the cache"):
        layer.make(layer_idx=None)(inputs(), past_key_values=Cache())


@EACH
def test_unknown_settings_are_refused_with_the_nearest(layer):
    with pytest.raises(
        ValueError, match=f"hidden_sise: is not a setting of {layer}; there are .*did you mean 'hidden_size'"
    ):
        layer.make(hidden_sise=3)
    with pytest.raises(ValueError, match=f"vocab: is not a setting of {layer}; there are .*hidden_size.*norm_eps"):
        layer.make(vocab=3)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (DeltaNet, SHARING | {"mode": "parallel"}, "mode: found 'parallel'; wanted one of chunk, fused_recurrent"),
        (LinearAttention, SHARING | {"mode": "parallel"}, "mode: found 'parallel'; wanted one of chunk, fused_chunk"),
        (DeltaNet, SHARING | {"num_heads": 5}, r"num_heads: found 5; wanted a divisor of expand_k \* hidden_size = 24"),
        (
            DeltaNet,
            SHARING | {"expand_v": 0.3},
            r"expand_v: found 0.3; wanted expand_v \* hidden_size to be an integer",
        ),
        (DeltaNet, SHARING | {"qk_norm": "max"}, "qk_norm: found 'max'; wanted one of l2, sum"),
        (DeltaNet, SHARING | {"qk_activation": "tanh"}, "qk_activation: found 'tanh'"),
        (DeltaNet, SHARING | {"num_heads": 0}, "num_heads: found 0; wanted at least 1"),
        (GatedDeltaNet, OF_LENGTH | {"num_v_heads": 3}, "num_v_heads: found 3; wanted a multiple of num_heads = 2"),
        (GatedDeltaNet, OF_LENGTH | {"num_v_heads": 1}, "num_v_heads: found 1; wanted a multiple of num_heads = 2"),
        (GatedDeltaNet, OF_LENGTH | {"output_gate_activation": "tanh"}, "output_gate_activation: found 'tanh'"),
        (
            GatedDeltaNet,
            OF_LENGTH | {"kv_proj_rank": 2},
            "kv_proj_rank: found 2; wanted None, or heads of keys or values",
        ),
        (
            GatedKalmaNet,
            OF_LENGTH | {"kv_learnable_residual": True},
            "kv_learnable_residual: found True; wanted kv_proj",
        ),
        (GatedKalmaNet, OF_LENGTH | {"num_kv_heads": 1, "kv_proj_rank": 0}, "kv_proj_rank: found 0; wanted at least 1"),
        (GatedDeltaProduct, OF_LENGTH | {"num_householder": 0}, "num_householder: found 0; wanted at least 1"),
        (KimiDeltaAttention, OF_LENGTH | {"safe_gate": True}, "lower_bound: found None; wanted a number below 0"),
        (KimiDeltaAttention, OF_LENGTH | {"lower_bound": 5.0}, "lower_bound: found 5.0; wanted a number below 0"),
        (KalmanFilter, OF_LENGTH | {"num_kv_heads": 3}, "num_kv_heads: found 3; wanted a divisor of num_heads = 2"),
        (KalmanFilter, OF_LENGTH | {"noise": 0.0}, "noise: found 0.0; wanted a positive number"),
        (LinearAttention, SHARING | {"num_kv_heads": 3}, "num_kv_heads: found 3; wanted a divisor of num_heads = 4"),
        (
            LinearAttention,
            SHARING | {"feature_map": "cosine"},
            "feature_map: found 'cosine'; wanted one of elementwise",
        ),
        (LinearAttention, SHARING | {"output_norm": "layernorm"}, "output_norm: found 'layernorm'"),
        (
            Mamba2,
            {"hidden_size": SIZE, "head_dim": 7},
            r"head_dim: found 7; wanted a divisor of expand \* hidden_size = 48",
        ),
        (Mamba2, {"hidden_size": SIZE, "head_dim": 12, "num_heads": 3}, "num_heads: found 3; wanted expand .* = 4"),
        (
            Mamba2,
            {"hidden_size": SIZE, "head_dim": 12, "n_groups": 3},
            "n_groups: found 3; wanted a divisor of the 4 heads",
        ),
        (Mamba2, {"hidden_size": SIZE, "head_dim": 12, "state_size": 0}, "state_size: found 0; wanted at least 1"),
        (Mamba2, {"hidden_size": SIZE, "head_dim": 12, "hidden_act": "relu"}, "hidden_act: found 'relu'"),
        (AdaptiveFilterAttention, OF_LENGTH | {"head_dim": 7}, "head_dim: found 7; wanted an even number"),
    ],
)
def test_bad_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)
