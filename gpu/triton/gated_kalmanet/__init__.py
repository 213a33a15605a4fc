"""Kernels of Gated KalmaNet: the pieces of its chunk-wise form, and the step of one token."""
