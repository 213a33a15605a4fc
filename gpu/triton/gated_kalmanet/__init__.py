"""Kernels of Gated KalmaNet, chunk-wise and token by token."""
