"""rv.extragradient: any method for F(z) = 0 by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...naming import refusing_other_names
from ..driver.named import named_method
from ..driver.solution import Solution
from ..fixed_point.call import V
from ..fixed_point.run import solve_problem
from .method import MonotoneMethod
from .methods import MONOTONE_METHODS, MonotoneMethodName
from .problem import MonotoneProblem

__all__ = ["extragradient"]


@refusing_other_names
def extragradient(
    F: Callable[[Any], Any],
    z0: V,
    *,
    lipschitz: float | None = None,
    method: MonotoneMethodName | MonotoneMethod = "feg",
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Any = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: Any = None,
    precision: Any = None,
    **parameters: Any,
) -> Solution[V]:
    """Find z with F(z) = 0, where F is monotone: the gradients (d/dx f, -d/dy f) of a convex-concave f(x, y), say.

    A plain gradient step need not converge there: it spirals outwards on f = x y. An extragradient step takes F at a
    second point, and an anchor, the first guess, makes the residual fall like 1 / k, as fast as any method can that
    only evaluates F; without one it falls like 1 / sqrt(k). Where F is strongly monotone the unanchored methods
    converge linearly, and where it is affine the anchored ones with ``restart_at`` as well: for a random skew
    matrix of 30 unknowns "feg" takes 2722 evaluations to 1e-3, with ``restart_at=0.2`` 900, and "extragradient" 28841.

    Parameters
    ----------
    F : callable
        From z to F(z), in the structure, the shapes and the kind of numbers of z0. What it is handed cannot be used to
        change an iterate; what it returns is read before it is called again.
    z0 : array, number, or tuple, list or dict of such
        First guess, real or complex, of any shape and any array library; the solution comes back in its structure. Of
        the zeros of F the anchored methods tend to the one nearest to it.
    lipschitz : float, optional
        L: ||F(z) - F(w)|| <= L ||z - w||. By default the largest such ratio that was seen is taken, an iteration that
        shows a larger one is done again, and the estimate raised by a quarter at least. That costs one evaluation, or
        two where z0 is 0, and one or two for each time it was raised.
    method : str or MonotoneMethod
        A name in ``resolvent.MONOTONE_METHODS``, or a method with its parameters:

        - "feg": anchored, 2 evaluations an iteration, ||F(z_k)|| <= 2 L ||z0 - z*|| / k. Given ``comonotone``, a rho
          above -1 / (2 L), it solves F with Re <F(z) - F(w), z - w> >= rho ||F(z) - F(w)||^2 as well.
        - "eag_c", "eag_v": the anchored methods before it, with larger constants.
        - "accelerated_optimistic": anchored, 1 evaluation an iteration.
        - "two_timescale": two step lengths, for F that is nearly monotone about one zero.
        - "extragradient", "optimistic": without an anchor, with 2 evaluations an iteration and with 1.
    rtol, atol : float
        Converged when ||F(z)|| <= max(rtol ||F(z0)||, atol), in the 2-norm over all blocks. From a good first guess ask
        for ``atol``.
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
        To iterate in, see ``resolvent.precision``; certificates are evaluated in the precision of z0.
    **parameters
        Of the method named: ``stepsize`` in units of 1 / L; of anchored ones ``restart_at``, a number in (0, 1): the
        iterate becomes the anchor once the residual is this part of that at the anchor.

    Returns
    -------
    Solution
        ``evaluations`` says how often F was evaluated. The iterates of the optimistic methods, and of
        "two_timescale", are the h of their definitions.

    Raises
    ------
    InputError
        For a z0 without entries or with NaN or infinite ones, an F that returns another structure, shape, kind of
        numbers or fewer digits, an unknown method, or a parameter that it does not have or outside its range.
    TypeError
        For an F that cannot be called.
    BackendError
        For arrays of different libraries.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Examples
    --------
    The saddle point of x^T A y - b^T x + c^T y:

    >>> import numpy as np, resolvent as rv
    >>> A, b, c = np.array([[2.0, 1.0], [0.0, 1.0]]), np.ones(2), np.array([1.0, 0.0])
    >>> F = lambda z: (A @ z[1] - b, -A.T @ z[0] - c)
    >>> x, y = rv.extragradient(F, (np.zeros(2), np.zeros(2)), method="extragradient", rtol=1e-10).x
    >>> x.round(6), y.round(6)
    (array([-0.5,  0.5]), array([0., 1.]))
    """
    return solve_problem(
        named_method(method, parameters, MONOTONE_METHODS, MonotoneMethod),
        partial(MonotoneProblem, F, z0, lipschitz=lipschitz),
        backend=backend,
        precision=precision,
        rtol=rtol,
        atol=atol,
        maxiter=maxiter,
        callback=callback,
        progress=progress,
        time_limit=time_limit,
    )
