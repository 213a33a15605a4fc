"""Ritz values, condition numbers, and advice on precision."""
