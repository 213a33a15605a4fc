"""Resolvent: iterative solvers that know their precision, certify what they return, and say why they stopped.

>>> import numpy as np
>>> import resolvent as rv
>>> rv.solve(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12).converged
True
"""

from importlib import import_module
from typing import Any

from . import precision
from .backends import BACKENDS
from .errors import (
    BackendError,
    BusyError,
    ConvergenceError,
    ConvergenceWarning,
    InputError,
    NotHermitianError,
    SingularError,
)
from .operators import CSRStack, Diagonals, Operator, Stencil, StencilStack, as_operator
from .precision import Precision, precision_facts
from .solvers import (
    FINITE_SUM_METHODS,
    FIXED_POINT_METHODS,
    METHODS,
    MOMENTUM_SCHEMES,
    MONOTONE_METHODS,
    anderson,
    bicgstab,
    cg,
    chebyshev,
    extragradient,
    fixed_point,
    gauss_seidel,
    gmres,
    halpern,
    idrs,
    inverse,
    inverse_root,
    invsqrtm,
    jacobi,
    matrix_sign,
    minres,
    momentum,
    orthogonalize,
    picard,
    pinv,
    polar,
    precondition,
    prepare,
    refine,
    restarted_halpern,
    richardson,
    solve,
    solve_lyapunov,
    solve_sylvester,
    sor,
    sqrtm,
    ssor,
    ssor_cg,
    variance_reduced_halpern,
)
from .solvers.driver.progress import Progress
from .solvers.driver.solution import Solution, Status
from .solvers.spectra.advice import PrecisionAdvice, precision_for
from .solvers.spectra.condition import ConditionNumber, condition_number

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use, to keep the import of the solvers short; the layers need torch besides.
    if name in ("gallery", "layers"):
        return import_module(f".{name}", __name__)
    if name == "tuning":
        return import_module(".solvers.tuning", __name__)
    if name == "newton_schulz":
        return import_module(".solvers.matrix_functions.newton_schulz", __name__)
    if name in ("Sequence", "FixedPointSequence"):
        return getattr(import_module(".solvers.tuning", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "layers"])  # which a star import leaves alone, for it needs torch


__all__ = [
    "BACKENDS",
    "METHODS",
    "BackendError",
    "BusyError",
    "CSRStack",
    "ConditionNumber",
    "ConvergenceError",
    "ConvergenceWarning",
    "Diagonals",
    "FINITE_SUM_METHODS",
    "FIXED_POINT_METHODS",
    "FixedPointSequence",
    "InputError",
    "MOMENTUM_SCHEMES",
    "MONOTONE_METHODS",
    "NotHermitianError",
    "Operator",
    "Precision",
    "PrecisionAdvice",
    "Progress",
    "Sequence",
    "SingularError",
    "Solution",
    "Status",
    "Stencil",
    "StencilStack",
    "anderson",
    "as_operator",
    "bicgstab",
    "cg",
    "chebyshev",
    "condition_number",
    "extragradient",
    "fixed_point",
    "gallery",
    "gauss_seidel",
    "gmres",
    "halpern",
    "idrs",
    "inverse",
    "inverse_root",
    "invsqrtm",
    "jacobi",
    "matrix_sign",
    "minres",
    "momentum",
    "newton_schulz",
    "orthogonalize",
    "picard",
    "pinv",
    "polar",
    "precision_facts",
    "precision_for",
    "precision",
    "precondition",
    "prepare",
    "refine",
    "restarted_halpern",
    "richardson",
    "solve",
    "solve_lyapunov",
    "solve_sylvester",
    "sor",
    "sqrtm",
    "ssor",
    "ssor_cg",
    "tuning",
    "variance_reduced_halpern",
]
