"""The settings and weights of published layers, in the words of those here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...errors import InputError

__all__ = ["as_settings", "hybrid_heads", "is_hybrid", "leave_out", "load", "under"]

# What the layers of awslabs/hybrid-model-factory are given, and those of flash-linear-attention are not.
HYBRID = ("num_q_heads", "num_k_heads", "ridge_strength", "solver_type", "bp_lambda", "use_state_passing_sp")


def as_settings(config: Any) -> dict[str, Any]:
    """The arguments of a constructor, from a mapping or an object that has them as attributes."""
    if isinstance(config, Mapping):
        return dict(config)
    if hasattr(config, "to_dict"):
        return dict(config.to_dict())
    if hasattr(config, "__dict__"):
        return dict(vars(config))
    raise TypeError(f"config: found {type(config).__name__}; wanted the published constructor's arguments by name")


def under(state_dict: Mapping[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose names begin so, without that."""
    found = {name[len(prefix) :]: weight for name, weight in state_dict.items() if name.startswith(prefix)}
    if not found:
        raise InputError(f"prefix: found no weight whose name begins with {prefix!r}")
    return found


def load(layer: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a layer weights of its names and shapes, but for axes of length one; of the type and place they have.

    Raises
    ------
    InputError
        For names that are missing or too many, and other shapes.
    """
    kind = type(layer).__name__
    wanted = layer.state_dict()
    missing = [name for name in wanted if name not in weights]
    if missing:
        raise InputError(f"state_dict: found no {', '.join(missing)}; a {kind} of these settings has them")
    more = [name for name in weights if name not in wanted]
    if more:
        raise InputError(f"state_dict: found {', '.join(more)}; a {kind} of these settings has nothing of this name")
    for name, parameter in layer.named_parameters():
        weight = weights[name].detach()
        if weight.squeeze().shape != parameter.squeeze().shape:
            raise InputError(f"{name}: found shape {tuple(weight.shape)}; wanted {tuple(parameter.shape)}")
        parameter.data = weight.reshape(parameter.shape).clone()


def is_hybrid(settings: Mapping[str, Any]) -> bool:
    """Whether these are settings of a layer of awslabs/hybrid-model-factory."""
    return any(name in settings for name in HYBRID)


def hybrid_heads(settings: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Numbers of heads in the words used here.

    Projections of keys and values where nothing is shared are left out, as the published layer does.

    Raises
    ------
    InputError
        For numbers of heads of keys and values that differ from each other and from those of the queries.
    """
    q = settings.pop("num_q_heads", 16)
    k, v = (settings.pop(name, None) or q for name in ("num_k_heads", "num_v_heads"))
    settings["num_heads"] = q
    if k == v and q % k == 0:
        settings["num_kv_heads"] = k if k != q else None
    elif k == q and v % q == 0:
        settings["num_v_heads"] = v
    else:
        raise InputError(
            f"num_q_heads, num_k_heads, num_v_heads: found {q}, {k} and {v}; wanted as many of keys as of values, and "
            "those to divide the first, or as many of keys as of queries, and those to divide the last"
        )
    if k == v == q:
        settings.pop("kv_proj_rank", None)
        settings.pop("kv_learnable_residual", None)
        leave_out(weights, "proj_k.", "proj_v.", "k_rep", "v_rep")


def leave_out(weights: dict[str, torch.Tensor], *beginnings: str) -> None:
    """Forget weights that published layers have and do not use."""
    for name in [name for name in weights if name.startswith(beginnings)]:
        del weights[name]
