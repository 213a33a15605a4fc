"""Minima of smooth strongly convex functions given by their gradients, by gradient steps with momentum."""
