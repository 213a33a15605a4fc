"""How the solves of one call are done: with A and with A^H, in the primal and in its derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

import torch

from ...errors import InputError
from ...naming import choice, parameter_of_another
from ...solvers.driver.solution import Solution
from ...solvers.driver.stopping import Options
from ...solvers.methods import COMMON, METHODS, MethodName, is_auto, method_named
from ...solvers.preconditioners.base import Preconditioner
from ...solvers.preconditioners.given import is_named, preconditioner_named
from ...solvers.preconditioners.superlu import with_products

__all__ = ["BACKWARD", "FORWARD", "TANGENT", "Plan", "Solver", "Solves", "checked_tolerance", "plain_solvers"]

FORWARD, BACKWARD, TANGENT = "forward", "backward", "tangent"


@dataclass
class Solves:
    """The solves behind one call of ``layers.solve``.

    Attributes
    ----------
    forward : Solution
        That of A x = b.
    backward : list of Solution
        One for each backward pass so far, in its order; of A^H w = cotangent of x for a first derivative.
    tangent : list of Solution
        One for each forward-mode derivative.
    """

    forward: Any = None
    backward: list[Solution] = field(default_factory=list)
    tangent: list[Solution] = field(default_factory=list)

    def add(self, role: str, solution: Solution) -> None:
        """Keep one."""
        if role == FORWARD:
            self.forward = solution
        else:
            (self.backward if role == BACKWARD else self.tangent).append(solution)


@dataclass(frozen=True)
class Solver:
    """A method for one matrix: "auto", "exact" or a row of METHODS, with its parameters."""

    method: str
    parameters: tuple[tuple[str, Any], ...] = ()
    M: Any = None
    precision: Any = None

    @property
    def is_text(self) -> bool:
        """Whether ``repr`` holds all of it."""
        values = [self.M, self.precision]
        for _, value in self.parameters:
            values.extend(value if isinstance(value, tuple) else (value,))
        return all(isinstance(value, (str, int, float, type(None))) for value in values)

    @staticmethod
    def checked(method: str, parameters: Mapping[str, Any], M: Any, precision: Any) -> Solver:
        """Refuses what the method does not know; in a compiled graph the driver does that when the graph runs."""
        if torch.compiler.is_compiling():
            return Solver(method, tuple(parameters.items()), M, precision)
        method = choice("method", method, ("auto", "exact", *METHODS))
        if method == "exact" and parameters:
            raise parameter_of_another("exact", next(iter(parameters)), (), COMMON)
        elif not (method == "exact" or is_auto(method, parameters)):
            method_named(method, dict(parameters))
        if is_named(M):
            M = preconditioner_named(M)
        if method == "exact" and (M is not None or precision is not None):
            raise InputError(f"{'precision' if M is None else 'M'}: a factorisation takes none; name another method")
        return Solver(method, tuple(parameters.items()), M, precision)

    def adjoint(self, M: Any = None) -> Solver:
        """The same for A^H."""
        parameters = dict(self.parameters)
        if self.method in METHODS:
            parameters = METHODS[cast(MethodName, self.method)].adjoint_parameters(parameters)
        return Solver(self.method, tuple(parameters.items()), self.adjoint_M() if M is None else M, self.precision)

    def adjoint_M(self) -> Any:
        """The preconditioner for A^H."""
        M = with_products(self.M)
        if isinstance(M, Preconditioner) and (known := M.adjoint()) is not None:
            return known
        if M is None or is_named(M) or self.method == "auto":
            return M  # none, or made of the matrix that it is for
        if METHODS[cast("MethodName", self.method)].needs_hermitian:
            return self.M  # Hermitian, as the method asks
        if isinstance(self.M, torch.Tensor) and self.M.layout == torch.strided:
            return self.M.mH
        raise InputError(
            f"adjoint_M: {self.method} does not need a Hermitian A, so the backward solve needs the adjoint of M; pass "
            "adjoint_M, or M as a dense tensor, factors of SuperLU, rv.precondition.multigrid or a name"
        )


@dataclass(frozen=True)
class Plan:
    """All solves of one call.

    Parameters
    ----------
    solver, adjoint_solver : Solver
        For the matrix at hand and for its adjoint.
    tolerance, derivative_tolerance : (rtol, atol, maxiter)
        For the solve at hand and for those of its derivatives.
    role : str
        What messages call the solve at hand.
    record : Solves, optional
        Where solutions are kept.
    """

    solver: Solver
    adjoint_solver: Solver
    tolerance: tuple[float, float, int | None]
    derivative_tolerance: tuple[float, float, int | None]
    role: str = FORWARD
    record: Solves | None = None

    @property
    def is_text(self) -> bool:
        """Whether text can hold it, and nothing is to be kept: ``torch.compile`` then keeps the solve in its graph."""
        return self.record is None and self.solver.is_text and self.adjoint_solver.is_text

    def tangent(self) -> Plan:
        """For a solve with the same matrix in forward mode."""
        return replace(self, tolerance=self.derivative_tolerance, role=TANGENT)

    def adjoint(self) -> Plan:
        """For a solve with the adjoint matrix in reverse mode."""
        return Plan(
            self.adjoint_solver,
            self.solver,
            self.derivative_tolerance,
            self.derivative_tolerance,
            BACKWARD,
            self.record,
        )


@cache
def plain_solvers(method: str) -> tuple[Solver, Solver]:
    """A method with nothing given, checked, and the same for A^H."""
    solver = Solver.checked(method, {}, None, None)
    return solver, solver.adjoint()


def checked_tolerance(prefix: str, rtol: Any, atol: Any, maxiter: Any) -> tuple[float, float, int | None]:
    """The three, or an error that names the one out of range; in a compiled graph the driver checks them."""
    if torch.compiler.is_compiling():
        return rtol, atol, maxiter
    try:
        Options(rtol, atol, maxiter)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{prefix}{error}") from None
    return rtol, atol, maxiter
