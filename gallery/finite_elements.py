"""Finite element matrices that PyAMG ships: unstructured meshes, elasticity, high order, one complex, one singular."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from ..naming import choice
from .dense import ends
from .exact import product, short_vector
from .problem import Known, Problem

LARGEST_DENSE = 3000  # order up to which all eigenvalues of a Hermitian matrix are computed: a second or so


def _examples() -> Any:
    try:
        return importlib.import_module("pyamg.gallery.example")
    except ImportError as error:
        raise ImportError("finite element matrices come with PyAMG: pip install 'resolvent[amg]'") from error


def finite_element_names() -> tuple[str, ...]:
    """Names that `load_finite_elements` knows.

    Raises
    ------
    ImportError
        If PyAMG is not installed.

    Examples
    --------
    >>> "airfoil" in finite_element_names()
    True
    """
    return tuple(_examples().example_names)


def load_finite_elements(name: str, *, seed: Any = 0) -> Problem:
    """A matrix from PyAMG's collection, with a random solution.

    Whether it is symmetric, to rounding of its entries, and positive definite is computed, not assumed: "unit_square"
    is singular, "recirc_flow" nonsymmetric, "helmholtz_2D" complex and symmetric but not Hermitian.

    Parameters
    ----------
    name : str
        One of `finite_element_names`.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem
        Of order 125 to 2880. `spectrum` is known of the Hermitian ones, to rounding; `x` of a singular one is a
        solution, not the shortest.

    Raises
    ------
    ImportError
        If PyAMG is not installed.
    ValueError
        If there is no such matrix.

    References
    ----------
    N. Bell, L. N. Olson, J. Schroder, B. Southworth, "PyAMG: Algebraic multigrid solvers in Python", J. Open Source
    Software 8 (2023), 5495.

    Examples
    --------
    >>> load_finite_elements("airfoil")
    <airfoil: 260 x 260 csr, float64, 1682 nonzeros, symmetric positive definite, condition 74.92>
    """
    name = choice("name", name, finite_element_names())
    A = sparse.csr_array(_examples().load_example(name)["A"])
    A = A.astype(np.complex128 if np.iscomplexobj(A.data) else np.float64)
    A.sum_duplicates()
    A = sparse.csr_array((A.data, A.indices.astype(np.int32), A.indptr.astype(np.int32)), shape=A.shape)
    n = A.shape[0]
    rounding = n * np.finfo(np.float64).eps
    symmetric = bool(abs(A - A.conj().T).max() <= rounding * abs(A).max())
    known, definite = Known(), False
    if symmetric and n <= LARGEST_DENSE:
        values = np.linalg.eigvalsh(A.toarray())
        low, high = ends(values)
        if abs(low) <= rounding * high:
            low = 0.0  # not told from zero: say singular rather than quote the noise
        definite = low > 0
        known = Known(extremes=partial(ends, np.array([low, high])))
    rng = np.random.default_rng(seed)
    x: np.ndarray = short_vector(n, rng)
    if np.iscomplexobj(A.data):
        x = x + 1j * short_vector(n, rng)
    return Problem(
        name=name,
        A=A,
        b=product(A, x),
        x=x,
        symmetric=symmetric,
        positive_definite=definite,
        reference="Bell, Olson, Schroder, Southworth, PyAMG, Journal of Open Source Software 8 (2023), 5495",
        known=known,
    )
