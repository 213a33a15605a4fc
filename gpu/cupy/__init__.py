"""The CuPy backend, its kernels, and its loops that stay on the device."""
