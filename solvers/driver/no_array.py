"""A result that is no array: what takes it for one, or for a pair, is told where the array is."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import numpy as np

from ...naming import nearest

__all__ = ["NoArray"]

# What other libraries call a field of a result, and what it is here.
_OURS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("success", "flag"), ("converged",)),
    **dict.fromkeys(("info", "exit_code", "istop"), ("status",)),
    **dict.fromkeys(("message", "msg"), ("reason",)),
    **dict.fromkeys(("nit", "niter", "num_iter", "n_iter", "iters", "iter", "itn"), ("iterations", "iteration")),
    **dict.fromkeys(("iteration", "iterations", "k"), ("iterations", "iteration")),
    **dict.fromkeys(("residual", "resid", "fun", "norm", "normr", "r1norm"), ("residual_norm",)),
    **dict.fromkeys(("residuals", "resvec"), ("residual_norms",)),
    **dict.fromkeys(("nfev", "n_evals"), ("evaluations",)),
    **dict.fromkeys(("value", "solution", "result", "root", "y", "X", "xk", "xopt"), ("x",)),
    **dict.fromkeys(("time", "elapsed", "runtime"), ("seconds",)),
    **dict.fromkeys(("error", "err"), ("error_estimate",)),
    **dict.fromkeys(("cond", "acond"), ("condition",)),
    **dict.fromkeys(("eigenvalues", "eigs"), ("ritz",)),
}


class NoArray:
    """Refuses to be an array, a sequence, a number or a truth value, in words that name the field that is meant."""

    __slots__ = ()

    def _no(self, use: str) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"a {kind} {use}; the array is its .x ({self._fields_said})")

    _fields_said: ClassVar[str] = ".converged and .status tell how it ended"

    def _no_array(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Any use in arithmetic, or by a function of arrays."""
        self._no("is no array")

    def _no_number(self, *args: Any) -> NoReturn:
        self._no("is no number")

    __array__ = __array_ufunc__ = __array_function__ = __dlpack__ = __dlpack_device__ = _no_array
    __matmul__ = __rmatmul__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_array
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _no_array
    __lt__ = __le__ = __gt__ = __ge__ = _no_array
    __float__ = __int__ = __complex__ = _no_number

    __array_priority__ = 1e4  # SciPy's sparse matrices leave the product to it

    @classmethod
    def __torch_function__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"a {cls.__name__} is no tensor; the tensor is its .x ({cls._fields_said})")

    def __iter__(self) -> NoReturn:
        self._no("cannot be unpacked or iterated over")

    def __getitem__(self, index: Any) -> NoReturn:
        self._no("has no entries to index")

    def __len__(self) -> NoReturn:
        self._no("has no length")

    def __bool__(self) -> NoReturn:
        self._no("is neither true nor false")

    def _no_attribute(self, name: str) -> str:
        """What an AttributeError says."""
        kind = type(self)
        said = f"{kind.__name__!r} object has no attribute {name!r}"
        if name.startswith("_"):
            return said
        ours = {one for one in (*dir(kind), *getattr(kind, "__dataclass_fields__", ())) if not one.startswith("_")}
        elsewhere = {other: next(filter(ours.__contains__, names), None) for other, names in _OURS.items()}
        meant = {one: one for one in ours} | {other: one for other, one in elsewhere.items() if one is not None}
        if name not in meant and hasattr(np.ndarray, name):
            return f"{said}; the array is its .x"
        near = nearest(name, meant) if name not in meant else name
        return said if near is None else f"{said}; did you mean {meant[near]!r}?"
