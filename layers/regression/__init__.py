"""Regressions solved at every token: Gated KalmaNet, MesaNet, and ridge regression with a ridge that is fixed."""

from .arguments import Info
from .mesa import mesa_net
from .operation import gated_kalmanet

__all__ = ["Info", "gated_kalmanet", "mesa_net"]
