"""Sequence-model operations as functions of tensors."""

from .gated_kalmanet import gated_kalmanet

__all__ = ["gated_kalmanet"]
