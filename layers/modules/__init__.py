"""Modules for sequence models."""

from .cache import Cache
from .gated_kalmanet import GatedKalmaNet
from .short_convolution import ShortConvolution

__all__ = ["Cache", "GatedKalmaNet", "ShortConvolution"]
