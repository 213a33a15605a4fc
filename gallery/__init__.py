"""Test problems with known answers: `rv.gallery.poisson((32, 32))` and its kin.

Each function returns a `Problem`: a matrix, a right-hand side, mostly the exact solution, and what is known of the
spectrum. `GALLERY` lists those that a size is enough for, and `by_name` calls them by name. `fixed_points` has maps in
place of matrices, `state_tracking` tasks for sequence models.

Examples
--------
>>> from resolvent import gallery
>>> problem = gallery.poisson((32, 32))
>>> problem.A.shape, round(problem.condition, 1)
((1024, 1024), 440.7)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..naming import choice
from . import fixed_points, state_tracking
from .anisotropic import anisotropic
from .classical import kms, lehmer, minij, pei
from .convection import convection_diffusion
from .diffusion import diffusion
from .finite_elements import finite_element_names, load_finite_elements
from .graphs import graph_laplacian
from .heat import HeatSequence, heat_conductivity, heat_sequence
from .ill_conditioned import hilbert, moler
from .poisson import poisson
from .problem import Known, Problem
from .randsvd import randsvd
from .shifted import ShiftedLaplacians, shifted_laplacians
from .strakos import strakos

__all__ = [
    # on grids
    "poisson",
    "anisotropic",
    "diffusion",
    "convection_diffusion",
    # on meshes and graphs
    "load_finite_elements",
    "finite_element_names",
    "graph_laplacian",
    # spectra made to measure
    "strakos",
    "randsvd",
    # dense and classical
    "hilbert",
    "moler",
    "lehmer",
    "minij",
    "pei",
    "kms",
    # sequences
    "heat_sequence",
    "heat_conductivity",
    "HeatSequence",
    "shifted_laplacians",
    "ShiftedLaplacians",
    # maps and their fixed points
    "fixed_points",
    # sequences of tokens with exact labels
    "state_tracking",
    # results and tables
    "Problem",
    "Known",
    "GALLERY",
    "by_name",
]

# Each takes the size first, an int or for some a tuple, and has defaults for all else.
GALLERY: dict[str, Callable[..., Problem]] = {
    "poisson": poisson,
    "anisotropic": anisotropic,
    "diffusion": diffusion,
    "convection_diffusion": convection_diffusion,
    "strakos": strakos,
    "randsvd": randsvd,
    "hilbert": hilbert,
    "moler": moler,
    "lehmer": lehmer,
    "minij": minij,
    "pei": pei,
    "kms": kms,
    "graph_path": partial(graph_laplacian, "path"),
    "graph_cycle": partial(graph_laplacian, "cycle"),
    "graph_grid": partial(graph_laplacian, "grid"),
    "graph_complete": partial(graph_laplacian, "complete"),
    "graph_star": partial(graph_laplacian, "star"),
    "graph_random": partial(graph_laplacian, "random"),
}


def by_name(name: str, size: int | tuple[int, ...], **options: Any) -> Problem:
    """Make a problem of the table `GALLERY`.

    Parameters
    ----------
    name : str
        A key of `GALLERY`.
    size : int or tuple of ints
        Order of the matrix or, of problems on a grid, the points along each axis. A tuple of one is taken as its int.
    **options
        Further arguments of the function, by name.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If there is no such problem, or as the function does.

    Examples
    --------
    >>> by_name("kms", 100, rho=0.9)
    <kms(100, 0.9): 100 x 100 dense, float64, symmetric positive definite, condition 339.5>
    """
    name = choice("name", name, GALLERY)
    if isinstance(size, (tuple, list)) and len(size) == 1:
        size = size[0]
    return GALLERY[name](size, **options)
