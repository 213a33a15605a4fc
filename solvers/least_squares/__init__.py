"""Least squares, damped or not: a problem of its own, its methods one a file, all run by the driver."""
