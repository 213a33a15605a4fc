"""What linear attention applies to queries and keys in place of softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import elu

__all__ = ["FEATURE_MAPS", "Hedgehog"]


class EluPlusOne(nn.Module):
    """ELU(x) + 1, which is positive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return elu(x) + 1


class Hedgehog(nn.Module):
    """softmax of (2 y, -2 y), y = W x + b: features that can learn to mimic softmax attention.

    Parameters
    ----------
    head_dim : int
        D; there are 2 D features.

    References
    ----------
    Zhang et al., "The Hedgehog & the Porcupine: expressive linear attentions with softmax mimicry" (arXiv:2402.04347).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.modules.feature_maps import Hedgehog
    >>> features = Hedgehog(4)(torch.randn(3, 4))
    >>> features.shape, torch.allclose(features.sum(-1), torch.ones(3))
    (torch.Size([3, 8]), True)
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim)
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = 2 * self.layer(x)
        return torch.cat([y, -y], dim=-1).softmax(-1)


class ElementwiseProduct(nn.Module):
    """(W x + b) o (U x + c)."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(head_dim, head_dim), nn.Linear(head_dim, head_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer1(x) * self.layer2(x)


class RectifiedLinear(nn.Module):
    """max(W x, 0)."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


class FeatureMap(NamedTuple):
    """How one is made for a head of a length, and how many times as many features there are."""

    make: Callable[[int], nn.Module]
    expansion: int = 1


FEATURE_MAPS = {
    "elementwise_product": FeatureMap(ElementwiseProduct),
    "elu": FeatureMap(lambda head_dim: EluPlusOne()),
    "hedgehog": FeatureMap(Hedgehog, 2),
    "identity": FeatureMap(lambda head_dim: nn.Identity()),
    "relu": FeatureMap(lambda head_dim: nn.ReLU()),
    "t2r": FeatureMap(RectifiedLinear),
}
