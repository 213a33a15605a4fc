"""Zeros of monotone operators: a problem beside fixed points, its methods one a file, all run by the driver."""
