"""Compiled kernels of the Numba backend. Importing this package imports Numba, so it is done on first use only."""
