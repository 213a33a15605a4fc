"""What a caller gives as M: a name of the table, which the command line and least squares read too, or M itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...lazy import loaded
from ...naming import choice
from ...operators.exchange import is_ours
from .base import GivenPreconditioner, Preconditioner, fitted
from .superlu import with_products

__all__ = [
    "MORE",
    "PRECONDITIONERS",
    "Kind",
    "as_preconditioner",
    "distinct_names",
    "is_named",
    "preconditioner_named",
]

MORE = ", or a matrix or operator that is multiplied with"


@dataclass(frozen=True)
class Kind:
    """How a preconditioner of one name is made.

    Attributes
    ----------
    place : str
        Of the function that makes it of A.
    fixed : dict
        What that is always given.
    takes : str
        The parameter that the command line gives it.
    needs_entries : bool
        It cannot be made of an A that only multiplies.
    needs_hermitian : bool
        It is made for a Hermitian A.
    of_columns : bool
        Least squares have it too, made of the norms of the columns.
    """

    place: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    takes: str = ""
    needs_entries: bool = False
    needs_hermitian: bool = False
    of_columns: bool = False

    def made(self, A: Any, backend: Any, **own: Any) -> Preconditioner:
        """That of A."""
        return loaded(__package__, self.place)(A, backend=backend, **self.fixed, **own)


CHEBYSHEV = Kind("polynomial:polynomial", {"kind": "chebyshev"}, takes="interval", needs_hermitian=True)

PRECONDITIONERS: Mapping[str, Kind] = {
    "jacobi": Kind("jacobi:jacobi", needs_entries=True, of_columns=True),
    "ssor": Kind("ssor:ssor", takes="omega", needs_entries=True),
    "chebyshev": CHEBYSHEV,
    "neumann": Kind("polynomial:polynomial", {"kind": "neumann"}, takes="omega", needs_hermitian=True),
    "polynomial": CHEBYSHEV,
    "gmres_polynomial": Kind("polynomial:polynomial", {"kind": "gmres", "degree": 8}),
    "block_jacobi": Kind("block_jacobi:block_jacobi", needs_entries=True),
    "ilu": Kind("superlu:ilu", needs_entries=True),
    "ilu0": Kind("ilu0:ilu0", needs_entries=True),
    "incomplete_cholesky": Kind("incomplete_cholesky:incomplete_cholesky", needs_entries=True, needs_hermitian=True),
    "amg": Kind("amg:amg", needs_entries=True, needs_hermitian=True),
    "multigrid": Kind("multigrid:multigrid", needs_entries=True, needs_hermitian=True),
}


def distinct_names() -> list[str]:
    """Those of the table, of several that mean the same the first."""
    kinds: list[Kind] = []
    names = []
    for name, kind in PRECONDITIONERS.items():
        if not any(kind is other for other in kinds):
            kinds.append(kind)
            names.append(name)
    return names


def is_named(M: Any) -> bool:
    """Whether M is a name, or our function of that name in place of what it makes."""
    own = getattr(M, "__name__", None)
    return isinstance(M, str) or (own in PRECONDITIONERS and is_ours(M))


def preconditioner_named(M: Any) -> str:
    """The name of the table that was meant; an error that lists them where there is none."""
    return choice("M", M, PRECONDITIONERS, more=MORE)


def as_preconditioner(M: Any, backend: Any, n: int, A: Any) -> Preconditioner:
    """M for systems of n unknowns, made of A where it is named.

    Parameters
    ----------
    M : str, Preconditioner, SuperLU, matrix, LinearOperator or callable
    backend : Backend
    n : int
    A : Operator, or what the backend makes one of, (n, n)
        Looked at where M is named.

    Raises
    ------
    InputError
        For an unknown name, one that needs entries of an A that only multiplies, and an M of another shape.
    """
    if is_named(M):
        A = backend.operator(A)
        name = preconditioner_named(M)
        kind = PRECONDITIONERS[name]
        if kind.needs_entries and not A.explicit:
            others = ", ".join(repr(other) for other, one in PRECONDITIONERS.items() if not one.needs_entries)
            raise InputError(
                f"M: found {name!r}, which is made of the entries of A, but A only multiplies; wanted a matrix A, or "
                f"one of {others}"
            )
        M = kind.made(A, backend.exact)
    M = with_products(M)
    own = M if isinstance(M, Preconditioner) else GivenPreconditioner(backend.operator(M, "M"))
    return fitted(own, backend, n)
