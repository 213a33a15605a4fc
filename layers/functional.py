"""Sequence-model operations as functions of tensors."""

from .recurrence.additive import (
    chunk_gla,
    chunk_linear_attn,
    chunk_simple_gla,
    fused_recurrent_gla,
    fused_recurrent_linear_attn,
    fused_recurrent_simple_gla,
)
from .recurrence.delta import (
    chunk_delta_rule,
    chunk_gated_delta_product,
    chunk_gated_delta_rule,
    chunk_kda,
    chunk_longhorn,
    fused_recurrent_delta_rule,
    fused_recurrent_gated_delta_product,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_kda,
    fused_recurrent_longhorn,
)
from .recurrence.filters import kalman_filter, kdn, rls
from .recurrence.two_keys import (
    chunk_comba,
    chunk_precond_gated_delta_rule,
    chunk_precond_kda,
    fused_recurrent_comba,
    fused_recurrent_precond_gated_delta_rule,
    fused_recurrent_precond_kda,
)
from .regression import chunk_gka, chunk_mesa_net, gated_kalmanet, mesa_net

__all__ = [
    "chunk_comba",
    "chunk_delta_rule",
    "chunk_gated_delta_product",
    "chunk_gated_delta_rule",
    "chunk_gka",
    "chunk_gla",
    "chunk_kda",
    "chunk_linear_attn",
    "chunk_longhorn",
    "chunk_mesa_net",
    "chunk_precond_gated_delta_rule",
    "chunk_precond_kda",
    "chunk_simple_gla",
    "fused_recurrent_comba",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_product",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gla",
    "fused_recurrent_kda",
    "fused_recurrent_linear_attn",
    "fused_recurrent_longhorn",
    "fused_recurrent_precond_gated_delta_rule",
    "fused_recurrent_precond_kda",
    "fused_recurrent_simple_gla",
    "gated_kalmanet",
    "kalman_filter",
    "kdn",
    "mesa_net",
    "rls",
]
