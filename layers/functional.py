"""Sequence-model operations as functions of tensors."""

from .regression import gated_kalmanet

__all__ = ["gated_kalmanet"]
