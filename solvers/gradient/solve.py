"""rv.momentum: gradient steps by any scheme."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

from ..driver.named import named_method
from ..driver.solution import Solution
from ..fixed_point.call import FixedPointCommon, fixed_point_solver
from ..fixed_point.run import solve_problem
from .method import MomentumMethod
from .methods import MOMENTUM_SCHEMES, MomentumScheme
from .problem import GradientProblem

__all__ = ["momentum"]


@fixed_point_solver
def momentum(
    gradient: Callable[[Any], Any],
    x0: Any,
    *,
    smoothness: float,
    strong_convexity: float = 0.0,
    scheme: MomentumScheme | MomentumMethod = "triple_momentum",
    **common: Unpack[FixedPointCommon],
) -> Solution[Any]:
    """Minimise a smooth strongly convex function, given its gradient.

    Parameters
    ----------
    gradient : callable
        From x to the gradient there, in the structure, the shapes and the kind of numbers of x0. What it is handed
        cannot be used to change an iterate; what it returns is read before it is called again.
    x0 : array, number, or tuple, list or dict of such
        First guess, real or complex, of any shape and any array library; the solution comes back in its structure.
    smoothness : float
        L: the gradient changes by at most L times as much as x. Of 1/2 x^T A x - b^T x the largest eigenvalue of A; of
        a logistic regression ||X||^2 / 4, and the weight of the regularisation besides.
    strong_convexity : float
        mu: f - mu ||x||^2 / 2 is convex. Of a quadratic function the smallest eigenvalue, or less. Only "gradient" can
        do without.
    scheme : str or MomentumMethod
        A name in ``resolvent.MOMENTUM_SCHEMES``. With k = L / mu, an iteration reduces the error by

        - "triple_momentum": 1 - 1 / sqrt(k), the best that is known for every smooth strongly convex function,
        - "nesterov": sqrt(1 - 1 / sqrt(k)) at least, which for large k takes twice as many iterations,
        - "heavy_ball": (sqrt(k) - 1) / (sqrt(k) + 1) on quadratic functions, the best there, half of triple momentum's
          iterations; on other functions it may run in a cycle, as on that of Lessard, Recht and Packard (2016),
        - "gradient": (k - 1) / (k + 1).
    rtol, atol : float
        Converged when ||gradient(x)|| <= max(rtol ||gradient(x0)||, atol), in the 2-norm over all blocks; then
        ||x - x*|| <= ||gradient(x)|| / mu.
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.fixed_point``.

    Returns
    -------
    Solution
        ``evaluations`` says how often the gradient was evaluated: once an iteration, and once before.

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.extragradient``, and for constants outside their range.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    Constants that are too small for f may let every scheme diverge; mu above the true one costs convergence as well.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A, b = np.diag([1.0, 10.0, 100.0]), np.ones(3)
    >>> found = rv.momentum(lambda x: A @ x - b, np.zeros(3), smoothness=100, strong_convexity=1, rtol=1e-8)
    >>> found.x.round(6)
    array([1.  , 0.1 , 0.01])
    >>> found.iterations < 250
    True
    """
    return solve_problem(
        named_method(scheme, {}, MOMENTUM_SCHEMES, MomentumMethod, "scheme"),
        partial(GradientProblem, gradient, x0, smoothness=smoothness, strong_convexity=strong_convexity),
        **common,
    )
