"""rv.fixed_point: any method by name, or one that changes with what it observes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...naming import refusing_other_names
from ..driver.solution import Solution
from .call import V
from .method import FixedPointMethod
from .methods import FixedPointMethodName, fixed_point_method
from .run import solve_with

__all__ = ["fixed_point"]


@refusing_other_names
def fixed_point(
    g: Callable[[Any], Any],
    x0: V,
    *,
    method: FixedPointMethodName | FixedPointMethod = "auto",
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Any = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: Any = None,
    precision: Any = None,
    batch_ndim: int = 0,
    errors: str = "raise",
    **parameters: Any,
) -> Solution[V]:
    """Find x = g(x).

    With ``method="auto"`` every step is accelerated by Anderson's method at first. Differences are forgotten where g
    turns out not to be affine on them; where that converges slowly, accelerated and plain steps alternate, and if the
    residual stands still, the one takes the place of the other. ``Solution.reason`` says what was changed.

    Parameters
    ----------
    g : callable
        From x to g(x), in the structure, the shapes and the kind of numbers of x0. What it is handed cannot be used to
        change an iterate; what it returns is read before it is called again.
    x0 : array, number, or tuple, list or dict of such
        First guess, real or complex, of any shape and any array library; the solution comes back in its structure.
        The x of an earlier Solution is a warm start. Lists of numbers become NumPy arrays, integers float64.
    method : str or FixedPointMethod
        "auto" or another name in ``resolvent.FIXED_POINT_METHODS``, or a method with its parameters.
    rtol, atol : float
        Converged when ||g(x) - x|| <= max(rtol max(||x0||, ||g(x0)||), atol), in the 2-norm over all blocks. For
        x0 = 0 and g(x) = x + b - A x that is ||b - A x|| <= max(rtol ||b||, atol).
    maxiter : int, optional
        Iterations at most; by default 10 n, and at least 1000.
    callback : callable, optional
        Called with a ``Progress`` after every iteration; a true result stops the solve.
    progress : bool
        Show a live line in the terminal.
    time_limit : float, optional
        Seconds after which the best iterate is returned.
    backend : str or Backend, optional
        By default "numba" for NumPy arrays, otherwise the library of the arrays.
    precision : str, Format or Precision, optional
        To iterate in, see ``resolvent.precision``; certificates are evaluated in the precision of x0.
    batch_ndim : int
        So many axes come first in x0, in all of its blocks alike, and tell the members of a batch apart: many fixed
        points, independent of each other, by a g from a whole stack to a whole stack. Each member has its own norms,
        target, status and end; one that has ended no longer changes, and g is handed the whole stack all the same.
    errors : {"raise", "collect"}
        What a member of a batch with NaN in x0 does: raise its error, or come back with the status REFUSED.
    **parameters
        Of the method named.

    Returns
    -------
    Solution
        Of a batch a ``BatchSolution``, with arrays over its members, and ``systems[i]`` for one of them.
        ``evaluations`` says how often g was evaluated. A g that is NaN or infinite at an iterate is tried once half way
        to it; if that fails too the status is DIVERGED. A g that varies from call to call ends STAGNATED where its
        residual is noise.

    Raises
    ------
    InputError
        For an x0 without entries or with NaN or infinite ones, a g that returns another structure, shape, kind of
        numbers or fewer digits, an unknown method, or a parameter that it does not have.
    TypeError
        For a g that cannot be called.
    BackendError
        For arrays of different libraries.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    The members of a batch are iterated side by side, each as it would be alone, so that g is evaluated as often as the
    slowest member needs, and once more where some return another iterate than their last one. A member whose residual
    "auto" has not halved in 200 steps, whose residual a second evaluation contradicts, whose numbers are so large or
    small that squares leave the range, or for which g raises an ``ArithmeticError`` is solved afterwards by itself,
    each of its evaluations being one of the whole stack with the others held where they are. So are all members with a
    ``callback``, which is told of one after the other, with a ``precision``, and by Anderson acceleration of type I.
    "auto" keeps so many differences that those of all members together fit the memory. In the end every residual is
    that of the stack as it is returned: members that g couples end STAGNATED, unless they have come to rest as a whole.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.fixed_point(np.cos, np.ones(2), rtol=1e-10).x.round(6)
    array([0.739085, 0.739085])
    >>> rates = np.array([[0.1], [0.5], [0.9]])
    >>> rv.picard(lambda x: 1 + rates * x, np.zeros((3, 2)), batch_ndim=1).iterations
    array([  6,  17, 110])
    >>> found = rv.fixed_point(lambda v: {"a": v["b"] / 2, "b": 1 - v["a"]}, {"a": 0.0, "b": np.zeros(2)})
    Traceback (most recent call last):
    resolvent.errors.InputError: g(x)['a']: its value has shape (2,); wanted (), the shape of x0['a']
    """
    return solve_with(
        fixed_point_method(method, parameters),
        g,
        x0,
        rtol=rtol,
        atol=atol,
        maxiter=maxiter,
        callback=callback,
        progress=progress,
        time_limit=time_limit,
        backend=backend,
        precision=precision,
        batch_ndim=batch_ndim,
        errors=errors,
    )
