"""rv.Sequence: many related systems in a row, each solved with what the earlier ones taught."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from collections.abc import Sequence as Several
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError
from ..driver.batch import Batch, one_or_many
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.status import Status
from ..driver.stopping import Options
from ..driver.turn import Turn
from ..linear.method import LinearMethod
from ..linear.run import check_fits
from ..linear.system import LinearSystem
from ..methods import METHODS, method_of, parameters_of
from ..preconditioners.base import as_preconditioner
from .adaptive_sor import AdaptiveSORMethod
from .auto import Auto
from .choice import Choice
from .closed_forms import CLOSED_FORMS
from .evidence import Evidence, look_at
from .history import History
from .tuner import Tuner
from .warm_start import WarmStart
from .work import checked_cost, cost_of

__all__ = ["Sequence"]

FAILED = (Status.DIVERGED, Status.BREAKDOWN, Status.OVERFLOW)
UNSOLVED = (*FAILED, Status.MAX_ITERATIONS)  # what another parameter may be better at
KNOWN_AFTER = 5  # solves from which there is a usual number of iterations
RECENT = 20  # solves that the usual number is a mean of
FEWEST = 20  # iterations, and multiples of them, after which a parameter may be given up

# Those of the table, and one that is there for its tuner.
_METHODS: dict[str, type[LinearMethod[Any]]] = {**METHODS, AdaptiveSORMethod.name: AdaptiveSORMethod}


class Sequence:
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
        depend on the machine. By default iterations, and work where there are several methods. The seconds of each
        method's first solve are not told to the tuner, since they may be those of its compilation.
    give_up : float or None
        A solve that has taken this many times the usual iterations, and at its rate needs as many again, goes on from
        where it is with a parameter that served well, or that the tuner knows to suit this system; for what the tuner
        only tries, it may ask for fewer. The tuner is told the cost of both. If that one fails, the first goes on.
        Whatever this factor is, so does a solve that failed: diverged, broke down or met the limit.
    M : preconditioner, optional
        The same for all systems.
    precondition : callable, optional
        ``precondition(A, value)`` makes the preconditioner of each system; the tuner then chooses its value.
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
        tuning for another method.

    Notes
    -----
    The tuner's own cost is stated with each tuner. Of A, the pattern is kept where it is that of few diagonals, and
    recognised; of the rest, the memory that the caller no longer holds.

    References
    ----------
    Khodak, Chow, Balcan & Talwalkar (2024), "Learning to relax: setting solver parameters across a sequence of linear
    system instances".

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
        time_limit: float | None = None,
        backend: Any = None,
        precision: Any = None,
        **parameters: Any,
    ) -> None:
        given = list(method) if isinstance(method, (list, tuple)) else [method]
        self.methods = dict(_named(one) for one in given)
        names = self.names = list(self.methods)
        self.parameters = parameters
        for name in names:
            method_of(self.methods[name], parameters if len(names) == 1 else {})
        self.method = "|".join(names)
        self.options = Options(rtol, atol, maxiter, None, False, time_limit)
        self.cost = checked_cost(cost or ("iterations" if len(names) == 1 else "work"))
        if give_up is not None and not 1 <= give_up < math.inf:
            raise InputError(f"give_up: found {give_up!r}; wanted a factor of at least 1, or None")
        if M is not None and precondition is not None:
            raise InputError("M: found a preconditioner and precondition=, which makes one; wanted one of the two")
        self.give_up, self.M, self.precondition = give_up, M, precondition
        self.backend, self.precision = backend, precision
        self.tuner = self._tuner(tuner)
        self._turn = Turn()
        self._backends: tuple[Backend | None, Backend | None] = None, None  # the latest, and the same keeping
        self._warm = WarmStart(warm_start)
        self._usual: dict[str, tuple[int, float]] = {}  # by method: solves, and running geometric mean of iterations
        self._started: set[str] = set()  # methods that have solved a system here
        self._limited = 0, self.options  # the latest budget, and the options with it
        self._good: Any = None  # a parameter that served well
        self.history = History(tuner=self.tuner if isinstance(self.tuner, Tuner) else None)

    def _tuner(self, tuner: Any) -> Any:
        """The tuner, or the default one, bound to the method."""
        if tuner is None:
            auto = {name: Auto() if name in CLOSED_FORMS else None for name in self.names}
            if len(self.names) > 1:
                tuner = Choice(auto)
            elif "omega" not in self.parameters:
                tuner = auto[self.names[0]]
            if tuner is None:
                return None
        elif not (hasattr(tuner, "suggest") and hasattr(tuner, "observe")):
            raise InputError(f"tuner: found {type(tuner).__name__}; wanted an object with suggest and observe")
        parameter = getattr(tuner, "parameter", "omega")
        if isinstance(tuner, Choice) and set(tuner.methods) != set(self.names):
            raise InputError(
                f"tuner: chooses among {', '.join(tuner.methods)}; the methods are {', '.join(self.names)}"
            )
        values = getattr(tuner, "values", None)
        several = [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
        for value in several:
            if value.get("method", self.names[0]) not in self.methods:
                raise InputError(f"tuner: chooses {value!r}; the methods are {', '.join(self.names)}")
        if self.precondition is None and parameter != "method" and not several:
            for name in self.names:
                known = parameters_of(self.methods[name])
                if parameter not in known:
                    raise InputError(
                        f"tuner: chooses {parameter}, which {name} does not have; it has "
                        f"{', '.join(known) or 'no parameters'}"
                    )
        if isinstance(tuner, Tuner):
            tuner.bind(self.method)
        return tuner

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
        value = None
        if self.tuner is not None:
            if getattr(self.tuner, "wants_look", False):
                self.tuner.inspect(look_at(system))
            value = self.tuner.suggest(context)
        with self.tuner.in_use() if isinstance(self.tuner, Tuner) else nullcontext():
            solution, name, cost, evidence, given_up = self._attempts(system, A, value, options)
        # A method's first solve may have been compiled: its seconds say nothing of the next.
        telling = solution.iterations > 0 and (self.cost != "seconds" or name in self._started)
        self._started.add(name)
        if self.tuner is not None and telling and solution.status is not Status.INTERRUPTED:
            self.tuner.observe(cost, evidence)
        if solution.converged and not given_up:
            self._take_note(name, value, solution.iterations)
        if solution.converged:
            first = solution.history[1][0] if len(solution.history[1]) else math.inf
            x = system.backend.vector(solution.x, "x")
            kept = system.backend.exact.copy(system.backend.reshape(x, (-1,)))
            self._warm.keep(kept, float(first), system.reference)
        history = self.history
        history.parameters.append(value)
        history.costs.append(cost)
        history.iterations.append(solution.iterations)
        history.seconds.append(solution.seconds)
        history.contexts.append(context)
        history.statuses.append(solution.status.name)
        history.given_up.append(given_up)
        return solution

    def _backend(self, *arrays: Any) -> Backend:
        """The backend for these, which keeps from one system to the next what it can use."""
        chosen = choose_backend(self.backend, *arrays, M=self.M)
        last, keeping = self._backends
        if chosen is not last or keeping is None:
            keeping = chosen.keeping()
            self._backends = chosen, keeping
        return keeping

    def _attempts(
        self, system: LinearSystem, A: Any, value: Any, options: Options
    ) -> tuple[Solution, str, float, Evidence, bool]:
        """Solve with this value, and go on with another where it is hopeless.

        Returns the Solution, the name of the method, the cost of all attempts, what the first showed, and whether the
        value was given up.
        """
        method, M = self._prepare(system, A, value)
        good, budget = self._instead(method.name, value, options, system.n)
        if budget is not None and budget != self._limited[0]:
            self._limited = budget, replace(options, maxiter=budget)
        solution = iterate(system, method, options if budget is None else self._limited[1])
        cost = cost_of(solution, system, method, M, self.cost)
        evidence = Evidence(solution=solution)
        left = options.most_iterations(system.n) - solution.iterations  # to this value
        cut = budget is not None and solution.status is Status.MAX_ITERATIONS
        if cut and budget is not None and _remaining(solution) <= budget:
            solution, extra = self._again(system, A, solution, options, value, left)
            cut, cost = False, cost + extra
        given_up = solution.status in UNSOLVED and solution.iterations > 0 and good is not None
        if given_up:
            said = f"The parameter {value!r} was given up after {solution.iterations} iterations for {good!r}"
            solution, extra = self._again(system, A, solution, options, good, options.maxiter)
            cost += extra
            if cut and solution.status in UNSOLVED:
                said = f"{said}, and that after {solution.iterations} in all for the first again"
                solution, extra = self._again(system, A, solution, options, value, left)
                cost += extra
            solution.reason = f"{said}. {solution.reason}"
        elif solution.status in FAILED:
            # It would have gone on to the limit, had it not been stopped.
            cost *= options.most_iterations(system.n) / max(solution.iterations, 1)
        return solution, method.name, cost, evidence, given_up

    def _prepare(self, system: LinearSystem, A: Any, value: Any) -> tuple[LinearMethod[Any], Any]:
        """The method with its parameter; the preconditioner, which the system is given, if that is what is tuned."""
        name, parameters, M = self.names[0], dict(self.parameters), self.M
        if self.precondition is not None:
            M = self.precondition(A, value)
            system._bind(as_preconditioner(M, system.backend, system.n))
        elif isinstance(value, dict):
            parameters.update(value)
            name = parameters.pop("method", name)
        elif value is not None:
            parameters[getattr(self.tuner, "parameter", "omega")] = value
        method = method_of(self.methods.get(name) or _named(name)[1], parameters)
        check_fits(method, system)
        return method, M

    def _instead(self, name: str, value: Any, options: Options, n: int) -> tuple[Any, int | None]:
        """What to go on with instead of a hopeless value, and iterations after which that is looked into; or None."""
        fallback = self.tuner.fallback() if hasattr(self.tuner, "fallback") else None
        good, patience = (None, None) if fallback is None else fallback
        good = self._good if good is None else good
        if value is None or good is None or good == value:
            return None, None
        if self.give_up is None:
            return good, None  # where it fails
        if patience is None:
            solves, usual = self._usual.get(name, (0, 0.0))
            if solves < KNOWN_AFTER:
                return good, None
            patience = self.give_up * usual
        budget = FEWEST * math.ceil(patience / FEWEST)
        return good, budget if budget < options.most_iterations(n) else None

    def _again(
        self, system: LinearSystem, A: Any, before: Solution, options: Options, value: Any, maxiter: int | None
    ) -> tuple[Solution, float]:
        """Go on with this value for so many iterations more; the Solution counts those before."""
        system.guess = system.backend.reshape(system.backend.vector(before.x, "x0"), (-1,))
        method, M = self._prepare(system, A, value)
        done = before.matvecs
        limit = options.time_limit
        if limit is not None:
            limit = max(limit - before.seconds, 1e-9)
        solution = iterate(system, method, replace(options, maxiter=maxiter, time_limit=limit))
        after = replace(solution, matvecs=solution.matvecs - done)
        cost = cost_of(after, system, method, M, self.cost)
        at, norms = before.history
        solution.history = (
            [*at, *(before.iterations + k for k in solution.history[0])],
            [*norms, *solution.history[1]],
        )
        solution.iterations += before.iterations
        solution.seconds += before.seconds
        return solution, cost

    def _take_note(self, name: str, value: Any, iterations: int) -> None:
        """The usual number of iterations, and a parameter that needed no more."""
        if iterations == 0:
            return
        solves, usual = self._usual.get(name, (0, float(iterations)))
        usual *= (iterations / usual) ** (1 / min(solves + 1, RECENT))
        self._usual[name] = solves + 1, usual
        if iterations <= usual or self._good is None:
            self._good = value

    def report(self) -> str:
        """What the sequence cost and what was chosen, as text for a terminal."""
        return self.history.report(self._title(), self.cost)

    def plot(self, *, file: str | os.PathLike[str] | None = None) -> Any:
        """Cost, parameter and estimated regret by system (needs matplotlib); saved when ``file`` is given.

        Returns
        -------
        array of matplotlib Axes
        """
        return self.history.plot(self._title(), self.cost, file)

    def _title(self) -> str:
        return (
            f"{self.method} with {getattr(self.tuner, 'kind', type(self.tuner).__name__)}"
            if self.tuner
            else self.method
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file what has been learnt: the tuner, the history, and the solutions for warm starts.

        Raises
        ------
        InputError
            For a tuner of the caller's own without ``state`` and ``load``.
        BusyError
            While it is solving.
        """
        if self.tuner is not None and not hasattr(self.tuner, "state"):
            raise InputError(f"tuner: {type(self.tuner).__name__} has no state() that could be saved")
        with self._turn.taken("sequence"):
            self._save(path)

    def _save(self, path: str | os.PathLike[str]) -> None:
        """Write the file."""
        warm, solutions = self._warm.state()
        state = {
            "method": self.method,
            "cost": self.cost,
            "tuner": None if self.tuner is None else self.tuner.state(),
            "history": self.history.as_dict(),
            "usual": self._usual,
            "good": self._good,
            "warm": warm,
        }
        backend = None
        arrays: dict[str, np.ndarray] = {}
        for k, x in enumerate(solutions):
            backend = backend or choose_backend(None, x)
            arrays[f"x{k}"] = backend.to_numpy(x)
        with open(path, "wb") as stream:
            np.savez(stream, state=np.array(json.dumps(state)), **arrays)  # type: ignore[arg-type]

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file written by ``save``, in a sequence made with the same method and tuner.

        Raises
        ------
        InputError
            For the file of another method, cost, warm start, or kind of tuner; or one that is no such file.
        BusyError
            While it is solving.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                state = json.loads(str(stored["state"]))
                solutions = [stored[f"x{k}"] for k in range(len(stored.files) - 1)]
        except (ValueError, KeyError) as error:
            raise InputError(f"path: {os.fspath(path)!r} was not written by Sequence.save ({error})") from None
        with self._turn.taken("sequence"):
            self._load(state, solutions)

    def _load(self, state: dict[str, Any], solutions: list[np.ndarray]) -> None:
        """Take over what was saved."""
        for name in ("method", "cost"):
            if state[name] != getattr(self, name):
                raise InputError(
                    f"path: was saved with {name} {state[name]!r}; this sequence has {getattr(self, name)!r}"
                )
        if (state["tuner"] is None) != (self.tuner is None):
            found, here = ("no tuner", "one") if state["tuner"] is None else ("a tuner", "none")
            raise InputError(f"path: was saved with {found}, but this sequence has {here}")
        if self.tuner is not None:
            self.tuner.load(state["tuner"])
        self._warm.load(state["warm"], solutions)
        self._usual = {name: (int(solves), float(usual)) for name, (solves, usual) in state["usual"].items()}
        self._good = state["good"]
        self.history = History(**state["history"], tuner=self.history.tuner)

    def __repr__(self) -> str:
        return f"<Sequence {self._title()}, {len(self.history)} systems>"


def _named(method: Any) -> tuple[str, type[LinearMethod[Any]]]:
    """A method by its name, or a class that is one, with its name."""
    if isinstance(method, type) and issubclass(method, LinearMethod):
        return method.name, method
    if not isinstance(method, str) or method not in _METHODS:
        raise InputError(f"method: found {method!r}; wanted a subclass of LinearMethod, or one of {', '.join(METHODS)}")
    return method, _METHODS[method]


def _remaining(solution: Solution) -> float:
    """Iterations to the tolerance at the rate of the latest half of the solve."""
    at, norms = solution.history
    half = next(k for k in range(len(at)) if at[k] >= at[-1] // 2)
    target = solution.tolerance * norms[-1] / solution.relative_residual
    if not (norms[-1] < norms[half] and target > 0):
        return math.inf
    return (at[-1] - at[half]) * math.log(target / norms[-1]) / math.log(norms[-1] / norms[half])


class _InTurn(NamedTuple):
    """Solves the systems of a call one after the other, since each learns from those before it."""

    sequence: Sequence
    context: float | None

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
            return self.sequence._solve(A, b, x0, options, self.context)

    def together(self, batch: Batch, options: Options) -> None:
        return None
