"""rv.variance_reduced_halpern: F(z) = 0 for the mean of many operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

import numpy as np

from ..driver.named import named_method
from ..driver.solution import Solution
from ..fixed_point.call import FixedPointCommon, fixed_point_solver
from ..fixed_point.run import solve_problem
from .finite_sum import FiniteSumProblem
from .methods import FINITE_SUM_METHODS, FiniteSumMethodName
from .sampling import SamplingMethod

__all__ = ["variance_reduced_halpern"]


@fixed_point_solver
def variance_reduced_halpern(
    components: Sequence[Callable[[Any], Any]] | Callable[[Any, np.ndarray], Any],
    z0: Any,
    *,
    lipschitz: float,
    count: int | None = None,
    method: FiniteSumMethodName | SamplingMethod = "resolvent",
    batch: int | None = None,
    seed: int | np.random.Generator | None = None,
    **common: Unpack[FixedPointCommon],
) -> Solution[Any]:
    """Find z with F(z) = (F_1(z) + ... + F_n(z)) / n = 0, evaluating few of the F_i at a time.

    To reach ||F(z)|| <= eps takes about n + sqrt(n) L / eps evaluations of components, logarithms apart, where
    ``resolvent.extragradient`` takes n L_F / eps; but L, a mean over the components, lies between L_F, that of F, and
    sqrt(n) L_F, and the constants are large. Use it where n is at least ten thousand or so and the F_i are alike,
    so that L is near L_F; otherwise evaluate all of F, as the figures below say.

    Parameters
    ----------
    components : sequence of callables, or callable
        The F_i, each from z to F_i(z) as F in ``resolvent.extragradient``; or, much faster, one function of z and an
        integer array of indices from 0 to ``count`` - 1, possibly repeated, that returns the mean of these F_i(z).
    z0 : array, number, or tuple, list or dict of such
        As in ``resolvent.extragradient``.
    lipschitz : float
        L: the mean over i of ||F_i(z) - F_i(w)||^2 is at most L^2 ||z - w||^2. For method "direct" the mean of the same
        is at most L Re <F(z) - F(w), z - w>.
    count : int, optional
        n, where ``components`` is one function.
    method : {"resolvent", "direct"} or method
        "resolvent", for monotone F: Halpern iteration on the resolvent of F, each found as accurately as it has to be.
        "direct", for F that is cocoercive on average: Halpern iteration on F itself, by an estimate of F.
    batch : int, optional
        Components drawn at a time, with replacement; by default sqrt(n), rounded up.
    seed : int or numpy.random.Generator, optional
        By default 0, so that the same call gives the same iterates. A generator goes on where it was left.
    rtol, atol, maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.extragradient``. Residuals that CONVERGED is said of are of all of F.

    Returns
    -------
    Solution
        ``evaluations`` says how many components were evaluated, so that one of all of F counts n.

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.extragradient``, for no components, and for a count, batch or seed that does not fit.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    Evaluations of components over n, to reduce ||F|| to a tenth and to a hundredth of that at z0 = 0, by this method,
    and by one that evaluates all of F: Halpern iteration with steps 2 / L_F for the least squares, "feg" of
    ``resolvent.extragradient`` for the saddle points of x^T A y + b^T x - c^T y.

    =====================================  ========  =======  ============  ==========
    Components                                    n  L / L_F  by method     all of F
    =====================================  ========  =======  ============  ==========
    least squares, a row each                   400      4.0  92, 515       8, 72
    least squares, a row each                10 000      4.5  31, 76        2, 54
    least squares, a row each, "direct"         400     16.8  422           8
    least squares, a row each, "direct"      10 000     20.8  109           2
    saddle point, a column of A each            200      8.3  1016          42
    saddle point, A alike to a tenth          1 000      1.0  80, 448       38, 424
    saddle point, A alike to a tenth         20 000      1.0  173, 330      24, 232
    =====================================  ========  =======  ============  ==========

    To three thousandths the last one takes 580 against 777. "direct" wins where components are still more: 48 against
    138 to a hundredth for 250 000 diagonal ones, alike to a third.

    References
    ----------
    Cai, Alacaoglu and Diakonikolas (2024), "Variance reduced Halpern iteration for finite-sum monotone inclusions";
    Alacaoglu and Malitsky (2022) on the resolvents.

    Examples
    --------
    The mean of a hundred rotations, each with its own centre:

    >>> import numpy as np, resolvent as rv
    >>> centres = np.random.default_rng(1).standard_normal((100, 2))
    >>> def rotations(z, which):
    ...     x, y = z - centres[which].mean(axis=0)
    ...     return np.array([y, -x])
    >>> found = rv.variance_reduced_halpern(rotations, np.ones(2), count=100, lipschitz=1.0, rtol=1e-2)
    >>> bool(np.linalg.norm(found.x - centres.mean(axis=0)) < 2e-2)
    True
    """
    chosen = {"batch": batch, "seed": seed}
    parameters = {name: value for name, value in chosen.items() if value is not None}
    return solve_problem(
        named_method(method, parameters, FINITE_SUM_METHODS, SamplingMethod),
        partial(FiniteSumProblem, components, z0, lipschitz=lipschitz, count=count),
        **common,
    )
