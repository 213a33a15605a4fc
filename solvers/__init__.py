"""The solvers: one method a file, all run by the driver in ``iterate``."""

from . import compiled_loops, stacked_loops  # register their rows
from . import preconditioners as precondition
from .chebyshev.chebyshev import chebyshev
from .fixed_point.anderson import anderson
from .fixed_point.halpern import halpern
from .fixed_point.methods import FIXED_POINT_METHODS
from .fixed_point.picard import picard
from .fixed_point.restarted_halpern import restarted_halpern
from .fixed_point.solve import fixed_point
from .gradient.methods import MOMENTUM_SCHEMES
from .gradient.solve import momentum
from .krylov.bicgstab import bicgstab
from .krylov.cg import cg
from .krylov.gmres import gmres
from .krylov.idrs import idrs
from .krylov.minres import minres
from .krylov.ssor_cg import ssor_cg
from .linear.prepare import prepare
from .linear.refine import refine
from .linear.solve import solve
from .matrix_functions.decompose import orthogonalize, polar
from .matrix_functions.inverse import inverse, pinv
from .matrix_functions.inverse_root import inverse_root
from .matrix_functions.lyapunov import solve_lyapunov, solve_sylvester
from .matrix_functions.sign import matrix_sign
from .matrix_functions.sqrt import invsqrtm, sqrtm
from .methods import METHODS
from .monotone.methods import FINITE_SUM_METHODS, MONOTONE_METHODS
from .monotone.solve import extragradient
from .monotone.solve_sum import variance_reduced_halpern
from .relaxation.jacobi import jacobi
from .relaxation.richardson import richardson
from .relaxation.sor import gauss_seidel, sor, ssor

__all__ = [
    "FINITE_SUM_METHODS",
    "FIXED_POINT_METHODS",
    "METHODS",
    "MOMENTUM_SCHEMES",
    "MONOTONE_METHODS",
    "anderson",
    "bicgstab",
    "cg",
    "compiled_loops",
    "stacked_loops",
    "chebyshev",
    "extragradient",
    "fixed_point",
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
    "orthogonalize",
    "picard",
    "pinv",
    "polar",
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
    "variance_reduced_halpern",
]
