"""rv.Sequence: many related systems in a row, each solved with what the earlier ones taught."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError
from ...naming import choice, refusing_other_names
from ..driver.batch import Batch, one_or_many
from ..driver.solution import Solution
from ..driver.status import Status
from ..driver.stopping import Options
from ..krylov.recycled import Recycled, check_recycle
from ..linear.method import LinearMethod
from ..linear.run import check_fits
from ..linear.system import LinearSystem
from ..methods import METHODS, RECYCLING, method_of, parameters_of
from ..preconditioners.given import as_preconditioner
from .adaptive_sor import AdaptiveSORMethod
from .auto import Auto
from .choice import Choice
from .closed_forms import CLOSED_FORMS
from .evidence import look_at
from .recycling import Recycling
from .rounds import Rounds
from .tuner import Tuner
from .warm_start import WarmStart
from .work import COSTS, cost_of

__all__ = ["Sequence"]

# Those of the table, and one that is there for its tuner.
_METHODS: dict[str, type[LinearMethod[Any]]] = {name: kind for name, kind in METHODS.items()}  # noqa: C416
_METHODS[AdaptiveSORMethod.name] = AdaptiveSORMethod


class Sequence(Rounds[LinearSystem]):
    r"""Solve related systems one after the other, with a parameter that gets better by itself.

    Parameters
    ----------
    method : str, subclass of LinearMethod, or list of them
        A name in ``resolvent.METHODS`` or a method of one's own; of several, the cheapest is found.
    tuner : Tuner, optional
        Chooses the parameter. Anything with ``suggest(context)``, ``observe(cost, evidence)`` and ``parameter``. By
        default ``rv.tuning.Auto`` for a method with an omega, ``rv.tuning.Choice`` among several methods, none for
        other methods.
    rtol, atol, maxiter, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; maxiter limits the iterations with each parameter. What goes on after a parameter that
        was given up has as many as if it had begun, so that no solve fails for having tried another first.
    warm_start : {"previous", "extrapolate", "subspace", None}
        The first guess: the last solution, the line through the last two, or that combination of the last six whose
        residual is smallest (six products with A). None: zero. Guesses that turn out worse than zero are not made for
        a while.
    cost : {"iterations", "seconds", "work"}
        What the tuner is to make small. Work is the number of matrix entries and vector elements touched; it does not
        depend on the machine. By default iterations, and work where there are several methods or something is recycled.
        The seconds of each method's first solve are not told to the tuner, since they may be those of its compilation.
    give_up : float or None
        A solve that has taken this many times the usual iterations, and at its rate needs as many again, goes on from
        where it is with a parameter that served well, or that the tuner knows to suit this system; for what the tuner
        only tries, it may ask for fewer. The tuner is told the cost of both. If that one fails, the first goes on.
        Whatever this factor is, so does a solve that failed: diverged, broke down or met the limit.
    M : preconditioner, optional
        The same for all systems, or a name, made of each A.
    precondition : callable, optional
        ``precondition(A, value)`` makes the preconditioner of each system; the tuner then chooses its value.
    recycle : int
        Vectors, harmonic Ritz vectors of the systems before, whose span "gmres", "minres" and "cg" leave out of the
        Krylov space of the next: GCRO-DR (as many of the ``restart`` vectors of a basis), recycling MINRES, deflated
        conjugate gradients. Each takes a product with A a system, and two vector passes an iteration. Now and then 0 is
        tried instead, and the cheaper of both goes on; a tuner of ``parameter="recycle"`` chooses among other numbers,
        and with a tuner of something else, or ``precondition``, the vectors are always used. A solve to which they are
        of no use goes on without.
    **parameters
        Of the method, the same for all systems.

    Attributes
    ----------
    history : History
        ``parameters``, ``costs``, ``regret`` and more, one entry a system.

    Raises
    ------
    InputError
        For an unknown method, warm start or cost, a parameter that the method does not have, a tuner that has been
        tuning for another method; for ``recycle`` with a method that cannot, or no less than its ``restart``.

    Notes
    -----
    The tuner's own cost is stated with each tuner. Of A, the pattern is kept where it is that of few diagonals, and
    recognised; of the rest, the memory that the caller no longer holds.

    References
    ----------
    Khodak, Chow, Balcan & Talwalkar (2024), "Learning to relax: setting solver parameters across a sequence of linear
    system instances". Parks, de Sturler, Mackey, Johnson & Maiti (2006), "Recycling Krylov subspaces for sequences of
    linear systems", the appendix; Wang, de Sturler & Paulino (2007), "Large-scale topology optimization using
    preconditioned Krylov subspace methods with recycling"; Saad, Yeung, Erhel & Guyomarc'h (2000), "A deflated version
    of the conjugate gradient algorithm", for what is recycled.

    Examples
    --------
    >>> import resolvent as rv
    >>> sequence = rv.Sequence("sor", rtol=1e-8)
    >>> for problem in rv.gallery.heat_sequence(20, 20):
    ...     solution = sequence.solve(problem.A, problem.b, context=problem.context)
    >>> solution.converged, len(sequence.history)
    (True, 20)
    """

    def __init__(
        self,
        method: str | type[LinearMethod[Any]] | Several[str | type[LinearMethod[Any]]],
        *,
        tuner: Any = None,
        rtol: float = 1e-5,
        atol: float = 0.0,
        maxiter: int | None = None,
        warm_start: str | None = "previous",
        cost: str | None = None,
        give_up: float | None = 5.0,
        M: Any = None,
        precondition: Callable[[Any, Any], Any] | None = None,
        recycle: int = 0,
        time_limit: float | None = None,
        backend: Any = None,
        precision: Any = None,
        **parameters: Any,
    ) -> None:
        given = list(method) if isinstance(method, (list, tuple)) else [method]
        methods = dict(_named(one) for one in given)
        check_recycle(recycle)
        if recycle and not (len(methods) == 1 and all(map(_recycles, methods.values()))):
            listed = ", ".join(methods)
            raise InputError(f"recycle: found {recycle} for {listed}; wanted one method of {', '.join(RECYCLING)}")
        self.recycle, self._recycled = int(recycle), Recycled()
        if M is not None and precondition is not None:
            raise InputError("M: found a preconditioner and precondition=, which makes one; wanted one of the two")
        self.M, self.precondition, self.precision = M, precondition, precision
        self._tunes_preconditioner = precondition is not None
        super().__init__(
            methods,
            tuner=tuner,
            parameters=parameters,
            options=Options(rtol, atol, maxiter, None, False, time_limit),
            cost=choice("cost", cost or ("iterations" if len(methods) == 1 and not recycle else "work"), COSTS),
            give_up=give_up,
            warm=WarmStart(warm_start),
            backend=backend,
        )

    def _default_tuner(self) -> Tuner | None:
        auto = {name: Auto() if name in CLOSED_FORMS else None for name in self.names}
        if len(self.names) > 1:
            return Choice(auto)
        if self.recycle and not self._tunes_preconditioner:
            return Recycling(self.recycle)
        return None if "omega" in self.parameters else auto[self.names[0]]

    def _known_parameters(self, kind: type[LinearMethod[Any]]) -> Several[str]:
        return (*parameters_of(kind), "recycle") if _recycles(kind) else parameters_of(kind)

    def _method(self, kind: type[LinearMethod[Any]], parameters: dict[str, Any]) -> LinearMethod[Any]:
        own = {name: value for name, value in parameters.items() if name != "recycle" or not _recycles(kind)}
        plain = method_of(kind, own, self._taken() if own else ())
        recycle = parameters.get("recycle", self.recycle)
        if not (recycle and _recycles(kind)):
            return plain
        if own.pop("flexible", False):
            raise InputError("recycle: what is kept serves a preconditioner that stays the same; wanted flexible=False")
        return RECYCLING[kind.name](**own, recycle=recycle, kept=self._recycled)  # type: ignore[call-arg]

    def _unsolved(self, solution: Solution, value: Any) -> bool:
        """At the limit of accuracy a space may be to blame."""
        recycled = bool(value) and getattr(self.tuner, "parameter", "") == "recycle" and bool(self._recycled.vectors)
        return super()._unsolved(solution, value) or (recycled and solution.status is Status.STAGNATED)

    def _tells(self, value: Any) -> bool:
        """The first solve that keeps something has nothing to use yet."""
        return bool(self._recycled.vectors) or not (getattr(self.tuner, "parameter", "") == "recycle" and value)

    def _vectors(self) -> list[Any]:
        return self._recycled.vectors

    def _take_vectors(self, vectors: list[np.ndarray]) -> None:
        self._recycled.vectors = vectors

    def _method_named(self, name: str) -> type[LinearMethod[Any]]:
        return _named(name)[1]

    @refusing_other_names
    def solve(self, A: Any, b: Any, context: float | None = None, *, x0: Any = None) -> Solution:
        """Solve the next system; of a batch, each in turn.

        Parameters
        ----------
        A, b, x0 :
            As in ``resolvent.cg``. With ``x0`` there is no warm start.
        context : float, optional
            A number that tells this system from the others, such as a shift, a coefficient or the time.

        Returns
        -------
        Solution
            Its iterations, products and seconds are those of all attempts: more than maxiter, where there were some.

        Raises
        ------
        InputError
            As in ``resolvent.cg``, and for a context that the tuner cannot use.
        BusyError
            While it is solving already, in another thread or further up in this one, or its tuner serves another
            sequence's solve. After an error or an interrupt it goes on with the next system.
        """

        with self._turn.taken("sequence"):
            return one_or_many(_InTurn(self, context), A, b, x0, self.options)

    def _solve(self, A: Any, b: Any, x0: Any, options: Options, context: float | None) -> Solution:
        system = LinearSystem(A, b, x0=x0, M=self.M, backend=self._backend(A, b, x0), precision=self.precision)
        if x0 is None:
            system.guess = self._warm.guess(system)
        if self.tuner is not None and getattr(self.tuner, "wants_look", False):
            self.tuner.inspect(look_at(system))
        self._recycled.found = None
        solution = self._round(system, A, options, context)
        if solution.converged:
            self._recycled.advance()
            first = solution.history[1][0] if len(solution.history[1]) else math.inf
            x = system.backend.vector(solution.x, "x")
            kept = system.backend.exact.copy(system.backend.reshape(x, (-1,)))
            self._warm.keep(kept, float(first), system.reference)
        return solution

    def _backend(self, *arrays: Any) -> Backend:
        """The backend for these, which keeps from one system to the next what it can use."""
        chosen = choose_backend(self.backend, *arrays, M=self.M)
        last, keeping = self._backends
        if chosen is not last or keeping is None:
            keeping = chosen.keeping()
            self._backends = chosen, keeping
        return keeping

    def _prepare(self, system: LinearSystem, A: Any, value: Any) -> tuple[LinearMethod[Any], Any]:
        """The method with its parameter; the preconditioner, which the system is given, if that is what is tuned."""
        M, tuned = self.M, value
        if self.precondition is not None:
            M, tuned = self.precondition(A, value), None
            system._bind(as_preconditioner(M, system.backend, system.n, system.truth))
        _, method = self._chosen(tuned)
        assert isinstance(method, LinearMethod)
        check_fits(method, system)
        return method, M

    def _begin_at(self, system: LinearSystem, x: Any) -> None:
        system.guess = system.backend.reshape(system.backend.vector(x, "x0"), (-1,))

    def _cost(self, solution: Solution, system: LinearSystem, method: Any, M: Any) -> float:
        return cost_of(solution, system, method, M, self.cost)


def _named(method: Any) -> tuple[str, type[LinearMethod[Any]]]:
    """A method by its name, or a class that is one, with its name."""
    if isinstance(method, type) and issubclass(method, LinearMethod):
        return method.name, method
    name = choice("method", method, _METHODS, more=", or a subclass of LinearMethod")
    return name, _METHODS[name]


def _recycles(kind: type[LinearMethod[Any]]) -> bool:
    """Whether there is a form of this method that keeps a space from one system to the next."""
    return kind.name in RECYCLING and METHODS[kind.name] is kind  # type: ignore[index]


class _InTurn(NamedTuple):
    """Solves the systems of a call one after the other, since each learns from those before it."""

    sequence: Sequence
    context: float | None

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
            return self.sequence._solve(A, b, x0, options, self.context)

    def together(self, batch: Batch, options: Options) -> None:
        return None
