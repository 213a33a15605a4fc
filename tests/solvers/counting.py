"""What a step costs, counted primitive by primitive."""

import numpy as np

from resolvent.backends.numpy_backend import NumpyBackend

# Vectors read plus vectors written when fused, reductions, products with A.
COSTS = {
    "accurate_residual": lambda *_: (3, 0, 1),
    "add_block": lambda V, *_: (len(V) + 2, 0, 0),
    "assign": lambda *_: (2, 0, 0),
    "axpby": lambda *_: (3, 0, 0),
    "axpbypcz": lambda *_: (4, 0, 0),
    "axpy": lambda *_: (3, 0, 0),
    "bicgstab_update": lambda *_: (7, 1, 0),
    "certify": lambda *_: (3, 1, 1),
    "cg_update": lambda *_: (6, 1, 0),
    "combine": lambda V, *_: (len(V) + 1, 0, 0),
    "copy": lambda *_: (2, 0, 0),
    "difference": lambda *_: (3, 0, 0),
    "dot": lambda *_: (2, 1, 0),
    "dot_and_square": lambda *_: (2, 1, 0),
    "dots": lambda V, *_: (len(V) + 1, 1, 0),
    "matvec": lambda *_: (2, 0, 1),
    "matvec_dot": lambda *_: (2, 1, 1),
    "momentum": lambda *_: (4, 0, 0),
    "multiply": lambda *_: (3, 0, 0),
    "norm": lambda *_: (1, 1, 0),
    "residual": lambda *_: (3, 0, 1),
    "rotate": lambda *_: (4, 0, 0),
    "sweep": lambda *_: (3, 0, 1),
    "zeros": lambda *_: (1, 0, 0),
}


class Counting(NumpyBackend):
    """The reference, counting what its primitives move; what these call in turn is not counted.

    Attributes
    ----------
    counted : ndarray of int, (3,)
        Vector passes, reductions, products.
    """

    def __init__(self):
        self.counted, self.inside = np.zeros(3, int), False

    def __getattribute__(self, name):
        plain = super().__getattribute__(name)
        if name not in COSTS or super().__getattribute__("inside"):
            return plain

        def primitive(*arguments, **options):
            self.counted += COSTS[name](*arguments)
            self.inside = True
            try:
                return plain(*arguments, **options)
            finally:
                self.inside = False

        return primitive


def vectors_in(holder, n, apart=()):
    """The addresses of all vectors of this length that can be reached, but not through the classes ``apart``."""
    if isinstance(holder, np.ndarray):
        return {holder.ctypes.data} if holder.shape == (n,) else set()
    if isinstance(holder, list):
        return set().union(*(vectors_in(one, n, apart) for one in holder))
    if hasattr(holder, "__dict__") and not isinstance(holder, (NumpyBackend, *apart)):
        return set().union(*(vectors_in(one, n, apart) for one in vars(holder).values()))
    return set()
