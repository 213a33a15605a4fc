"""Gated KalmaNet's operation: a ridge regression at every token, solved by iterations of its own."""

from .arguments import Info
from .operation import gated_kalmanet

__all__ = ["Info", "gated_kalmanet"]
