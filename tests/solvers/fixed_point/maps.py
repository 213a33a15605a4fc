"""Nonexpansive maps made of projections, and of steps of a primal-dual method, for the tests beside this file."""

import math

import numpy as np


def rotation(angle):
    """Of the plane."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def disc(*centre):
    """The projection onto the unit ball about a point."""
    centre = np.array(centre)

    def project(x):
        away = x - centre
        return x if np.linalg.norm(away) <= 1 else centre + away / np.linalg.norm(away)

    return project


def douglas_rachford(first, second):
    """Averaged alternating reflections in two sets."""

    def g(x):
        y = 2 * first(x) - x
        return (x + 2 * second(y) - y) / 2

    return g


class PrimalDual:
    """Primal-dual hybrid gradient for min c x with A x = b, x >= 0, in variables in which it is firmly nonexpansive.

    Attributes
    ----------
    g : callable
    inner : ndarray
        From the variables to (x, y).
    """

    def __init__(self, A, b, c):
        m, n = A.shape
        step = 0.9 / np.linalg.norm(A, 2)
        values, vectors = np.linalg.eigh(np.block([[np.eye(n) / step, A.T], [A, np.eye(m) / step]]))
        root, self.inner = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T

        def g(z):
            x, y = np.split(self.inner @ z, [n])
            ahead = np.maximum(x - step * (c - A.T @ y), 0)
            return root @ np.concatenate((ahead, y + step * (b - A @ (2 * ahead - x))))

        self.g = g
