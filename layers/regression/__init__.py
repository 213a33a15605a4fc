"""Regressions solved at every token: Gated KalmaNet, MesaNet, and ridge regression with a ridge that is fixed."""

from .arguments import Info
from .mesa import mesa_net
from .operation import gated_kalmanet
from .published import chunk_gka, chunk_mesa_net

__all__ = ["Info", "chunk_gka", "chunk_mesa_net", "gated_kalmanet", "mesa_net"]
