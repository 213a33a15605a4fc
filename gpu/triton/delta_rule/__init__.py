"""Kernels of the delta rule with one decay a head or none, chunk-wise."""
