"""The table of schemes for gradient steps, from which they are looked up by name."""

from __future__ import annotations

from typing import Literal

from .gradient_descent import GradientDescent
from .heavy_ball import HeavyBall
from .method import MomentumMethod
from .nesterov import Nesterov
from .triple_momentum import TripleMomentum

__all__ = ["MOMENTUM_SCHEMES", "MomentumScheme"]

MomentumScheme = Literal["triple_momentum", "nesterov", "heavy_ball", "gradient"]

MOMENTUM_SCHEMES: dict[str, type[MomentumMethod]] = {
    cls.name: cls for cls in (TripleMomentum, Nesterov, HeavyBall, GradientDescent)
}
