"""Differentiable PyTorch functions and modules; besides the backends of tensors, the only part that imports torch.

>>> import torch
>>> from resolvent import layers
>>> A = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64, requires_grad=True)
>>> b = torch.tensor([1.0, 2.0], dtype=torch.float64)
>>> layers.solve(A, b, method="cg", rtol=1e-12).sum().backward()
>>> A.grad
tensor([[-0.0165, -0.1157],
        [-0.0248, -0.1736]], dtype=torch.float64)
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError("resolvent.layers needs PyTorch; install resolvent[torch]", name="torch")

from . import functional, optim
from .linear.lstsq import lstsq
from .linear.solve import Solves, solve
from .matrix_functions.inverses import inverse, pinv
from .matrix_functions.lyapunov import solve_lyapunov, solve_sylvester
from .matrix_functions.polar import orthogonalize, polar
from .matrix_functions.roots import inverse_root, invsqrtm, sqrtm
from .matrix_functions.sign import matrix_sign
from .modules import (
    AdaptiveFilterAttention,
    Cache,
    CovariancePooling,
    DeltaNet,
    DeltaProduct,
    GatedDeltaNet,
    GatedDeltaProduct,
    GatedKalmaNet,
    KalmanFilter,
    KimiDeltaAttention,
    LinearAttention,
    Longhorn,
    Mamba2,
    MesaNet,
    ShortConvolution,
    Whitening,
)

__all__ = [
    "AdaptiveFilterAttention", "Cache", "CovariancePooling", "DeltaNet", "DeltaProduct", "GatedDeltaNet",
    "GatedDeltaProduct", "GatedKalmaNet", "KalmanFilter", "KimiDeltaAttention", "LinearAttention", "Longhorn", "Mamba2",
    "MesaNet", "ShortConvolution", "Solves", "Whitening", "functional", "inverse", "inverse_root", "invsqrtm", "lstsq",
    "matrix_sign", "optim", "orthogonalize", "pinv", "polar", "solve", "solve_lyapunov", "solve_sylvester", "sqrtm",
]  # fmt: skip
