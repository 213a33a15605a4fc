"""Modules for sequence models, and of second-order statistics."""

from .cache import Cache
from .covariance_pooling import CovariancePooling
from .gated_kalmanet import GatedKalmaNet
from .short_convolution import ShortConvolution
from .whitening import Whitening

__all__ = ["Cache", "CovariancePooling", "GatedKalmaNet", "ShortConvolution", "Whitening"]
