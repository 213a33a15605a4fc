"""Chebyshev iteration, its interval and its bound."""
