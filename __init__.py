"""Resolvent: iterative solvers that know their precision, certify what they return, and say why they stopped.

>>> import numpy as np
>>> import resolvent as rv
>>> rv.solve(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12).converged
True
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from . import gallery, precision
    from . import layers as layers  # not in __all__, for it needs torch
    from .backends import BACKENDS
    from .errors import (
        BackendError,
        BusyError,
        ConvergenceError,
        ConvergenceWarning,
        GradientWarning,
        InputError,
        NotHermitianError,
        ParameterError,
        SingularError,
    )
    from .operators import CSRStack, Diagonals, Operator, Stencil, StencilStack, as_operator
    from .precision import Precision, precision_facts
    from .solvers import preconditioners as precondition
    from .solvers import tuning
    from .solvers.chebyshev.chebyshev import chebyshev
    from .solvers.compare import Comparison, compare
    from .solvers.driver.progress import Progress
    from .solvers.driver.solution import Solution
    from .solvers.driver.status import Status
    from .solvers.fixed_point.anderson import anderson
    from .solvers.fixed_point.halpern import halpern
    from .solvers.fixed_point.methods import FIXED_POINT_METHODS
    from .solvers.fixed_point.picard import picard
    from .solvers.fixed_point.restarted_halpern import restarted_halpern
    from .solvers.fixed_point.solve import fixed_point
    from .solvers.gradient.methods import MOMENTUM_SCHEMES
    from .solvers.gradient.solve import momentum
    from .solvers.krylov.bicgstab import bicgstab
    from .solvers.krylov.cg import cg
    from .solvers.krylov.gmres import gmres
    from .solvers.krylov.idrs import idrs
    from .solvers.krylov.minres import minres
    from .solvers.krylov.ssor_cg import ssor_cg
    from .solvers.least_squares.cgls import cgls
    from .solvers.least_squares.lsmr import lsmr
    from .solvers.least_squares.lstsq import lstsq
    from .solvers.least_squares.methods import LEAST_SQUARES_METHODS
    from .solvers.linear.prepare import prepare
    from .solvers.linear.refine import refine
    from .solvers.linear.solve import solve
    from .solvers.matrix_functions import newton_schulz
    from .solvers.matrix_functions.decompose import orthogonalize, polar
    from .solvers.matrix_functions.inverse import inverse, pinv
    from .solvers.matrix_functions.inverse_root import inverse_root
    from .solvers.matrix_functions.lyapunov import solve_lyapunov, solve_sylvester
    from .solvers.matrix_functions.sign import matrix_sign
    from .solvers.matrix_functions.sqrt import invsqrtm, sqrtm
    from .solvers.methods import METHODS
    from .solvers.monotone.methods import FINITE_SUM_METHODS, MONOTONE_METHODS
    from .solvers.monotone.solve import extragradient
    from .solvers.monotone.solve_sum import variance_reduced_halpern
    from .solvers.relaxation.jacobi import jacobi
    from .solvers.relaxation.richardson import richardson
    from .solvers.relaxation.sor import gauss_seidel, sor, ssor
    from .solvers.spectra.advice import PrecisionAdvice, precision_for
    from .solvers.spectra.condition import ConditionNumber, condition_number
    from .solvers.tuning import FixedPointSequence, Sequence
    from .solvers.warm import warm

__version__ = "0.1.0"

# Where the public names lie, which are loaded when somebody first asks for them: the same as the imports above.
PLACES: Mapping[str, str] = {
    "gallery": "gallery",
    "precision": "precision",
    "layers": "layers",
    "BACKENDS": "backends:BACKENDS",
    "BackendError": "errors:BackendError",
    "BusyError": "errors:BusyError",
    "ConvergenceError": "errors:ConvergenceError",
    "ConvergenceWarning": "errors:ConvergenceWarning",
    "GradientWarning": "errors:GradientWarning",
    "InputError": "errors:InputError",
    "NotHermitianError": "errors:NotHermitianError",
    "ParameterError": "errors:ParameterError",
    "SingularError": "errors:SingularError",
    "CSRStack": "operators:CSRStack",
    "Diagonals": "operators:Diagonals",
    "Operator": "operators:Operator",
    "Stencil": "operators:Stencil",
    "StencilStack": "operators:StencilStack",
    "as_operator": "operators:as_operator",
    "Precision": "precision:Precision",
    "precision_facts": "precision:precision_facts",
    "precondition": "solvers.preconditioners",
    "tuning": "solvers.tuning",
    "chebyshev": "solvers.chebyshev.chebyshev:chebyshev",
    "Comparison": "solvers.compare:Comparison",
    "compare": "solvers.compare:compare",
    "Progress": "solvers.driver.progress:Progress",
    "Solution": "solvers.driver.solution:Solution",
    "Status": "solvers.driver.status:Status",
    "anderson": "solvers.fixed_point.anderson:anderson",
    "halpern": "solvers.fixed_point.halpern:halpern",
    "FIXED_POINT_METHODS": "solvers.fixed_point.methods:FIXED_POINT_METHODS",
    "picard": "solvers.fixed_point.picard:picard",
    "restarted_halpern": "solvers.fixed_point.restarted_halpern:restarted_halpern",
    "fixed_point": "solvers.fixed_point.solve:fixed_point",
    "MOMENTUM_SCHEMES": "solvers.gradient.methods:MOMENTUM_SCHEMES",
    "momentum": "solvers.gradient.solve:momentum",
    "bicgstab": "solvers.krylov.bicgstab:bicgstab",
    "cg": "solvers.krylov.cg:cg",
    "gmres": "solvers.krylov.gmres:gmres",
    "idrs": "solvers.krylov.idrs:idrs",
    "minres": "solvers.krylov.minres:minres",
    "ssor_cg": "solvers.krylov.ssor_cg:ssor_cg",
    "cgls": "solvers.least_squares.cgls:cgls",
    "lsmr": "solvers.least_squares.lsmr:lsmr",
    "lstsq": "solvers.least_squares.lstsq:lstsq",
    "LEAST_SQUARES_METHODS": "solvers.least_squares.methods:LEAST_SQUARES_METHODS",
    "prepare": "solvers.linear.prepare:prepare",
    "refine": "solvers.linear.refine:refine",
    "solve": "solvers.linear.solve:solve",
    "newton_schulz": "solvers.matrix_functions.newton_schulz",
    "orthogonalize": "solvers.matrix_functions.decompose:orthogonalize",
    "polar": "solvers.matrix_functions.decompose:polar",
    "inverse": "solvers.matrix_functions.inverse:inverse",
    "pinv": "solvers.matrix_functions.inverse:pinv",
    "inverse_root": "solvers.matrix_functions.inverse_root:inverse_root",
    "solve_lyapunov": "solvers.matrix_functions.lyapunov:solve_lyapunov",
    "solve_sylvester": "solvers.matrix_functions.lyapunov:solve_sylvester",
    "matrix_sign": "solvers.matrix_functions.sign:matrix_sign",
    "invsqrtm": "solvers.matrix_functions.sqrt:invsqrtm",
    "sqrtm": "solvers.matrix_functions.sqrt:sqrtm",
    "METHODS": "solvers.methods:METHODS",
    "FINITE_SUM_METHODS": "solvers.monotone.methods:FINITE_SUM_METHODS",
    "MONOTONE_METHODS": "solvers.monotone.methods:MONOTONE_METHODS",
    "extragradient": "solvers.monotone.solve:extragradient",
    "variance_reduced_halpern": "solvers.monotone.solve_sum:variance_reduced_halpern",
    "jacobi": "solvers.relaxation.jacobi:jacobi",
    "richardson": "solvers.relaxation.richardson:richardson",
    "gauss_seidel": "solvers.relaxation.sor:gauss_seidel",
    "sor": "solvers.relaxation.sor:sor",
    "ssor": "solvers.relaxation.sor:ssor",
    "PrecisionAdvice": "solvers.spectra.advice:PrecisionAdvice",
    "precision_for": "solvers.spectra.advice:precision_for",
    "ConditionNumber": "solvers.spectra.condition:ConditionNumber",
    "condition_number": "solvers.spectra.condition:condition_number",
    "FixedPointSequence": "solvers.tuning:FixedPointSequence",
    "Sequence": "solvers.tuning:Sequence",
    "warm": "solvers.warm:warm",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of this module
    __getattr__, __dir__ = lazy_names(__name__, PLACES)

__all__ = [
    "BACKENDS",
    "METHODS",
    "BackendError",
    "BusyError",
    "CSRStack",
    "Comparison",
    "ConditionNumber",
    "ConvergenceError",
    "ConvergenceWarning",
    "Diagonals",
    "FINITE_SUM_METHODS",
    "FIXED_POINT_METHODS",
    "FixedPointSequence",
    "GradientWarning",
    "InputError",
    "LEAST_SQUARES_METHODS",
    "MOMENTUM_SCHEMES",
    "MONOTONE_METHODS",
    "NotHermitianError",
    "Operator",
    "ParameterError",
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
    "cgls",
    "chebyshev",
    "compare",
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
    "lsmr",
    "lstsq",
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
    "warm",
]
