"""CUDA devices by way of CuPy; imported on demand by the registry of backends, and never by ``import resolvent``."""
