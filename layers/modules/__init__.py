"""Modules for sequence models, and of second-order statistics."""

from .adaptive_filter_attention import AdaptiveFilterAttention
from .cache import Cache
from .covariance_pooling import CovariancePooling
from .delta_net import DeltaNet
from .delta_product import DeltaProduct, GatedDeltaProduct
from .gated_deltanet import GatedDeltaNet
from .gated_kalmanet import GatedKalmaNet
from .kalman_filter import KalmanFilter
from .kimi_delta_attention import KimiDeltaAttention
from .linear_attention import LinearAttention
from .longhorn import Longhorn
from .mamba2 import Mamba2
from .mesa_net import MesaNet
from .short_convolution import ShortConvolution
from .whitening import Whitening

__all__ = [
    "AdaptiveFilterAttention", "Cache", "CovariancePooling", "DeltaNet", "DeltaProduct", "GatedDeltaNet",
    "GatedDeltaProduct", "GatedKalmaNet", "KalmanFilter", "KimiDeltaAttention", "LinearAttention", "Longhorn", "Mamba2",
    "MesaNet", "ShortConvolution", "Whitening",
]  # fmt: skip
