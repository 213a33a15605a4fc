"""Optimizers whose steps are matrix functions."""

from .muon import Muon

__all__ = ["Muon"]
