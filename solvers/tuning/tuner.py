"""The protocol of tuners: suggest a value of a parameter, observe what the solve cost, remember it across programs."""

from __future__ import annotations

import json
import math
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...errors import BusyError, InputError
from ..driver.turn import Turn
from ..report.facts import Facts
from ..report.html import in_html
from ..report.terminal import in_panel
from .evidence import Evidence, Look
from .told import curve_of, name_of_numbers, numbers_in, rows_of_values

__all__ = ["Fallback", "GridTuner", "Tuner", "default_values"]

ENTRIES = {"kind", "parameter", "method", "settings", "rounds", "spent", "pending", "memory"}  # of a state
RECENT = 1000  # rounds that are shown
RELAXATIONS = ("sor", "ssor", "ssor_cg", "adaptive_sor")


class Fallback(NamedTuple):
    """What to go on with where the value suggested last turns out hopeless.

    Attributes
    ----------
    value : object or None
        Expected to serve this very system well; None where what served well lately is as good.
    iterations : float or None
        Of the suggested value, after which one should look whether it is worth going on; None where nothing is known.
    """

    value: Any
    iterations: float | None


def default_values(parameter: str) -> list[float]:
    """The grid of Khodak et al. (2024) for omega: 20 values from 1 to 1.95."""
    if parameter != "omega":
        raise InputError(f"values: wanted the values of {parameter} to choose among; only omega has a grid by default")
    return [round(1 + 0.05 * i, 2) for i in range(20)]


class Tuner(ABC):
    """Chooses a parameter for each system of a sequence.

    A subclass has ``_choose(context)`` and ``_learn(value, cost, context, evidence)``, says in ``settings`` what it was
    made with, and keeps in ``_memory`` what ``_recall`` needs to go on.

    Parameters
    ----------
    parameter : str
        Name of what is tuned, as the method or the preconditioner calls it.

    Attributes
    ----------
    method : str or None
        The method tuned for; set by the first ``Sequence`` that uses the tuner.
    rounds : int
        Costs observed.
    spent : float
        Their sum.
    recent : deque of (value, cost)
        The latest thousand, to be shown; no part of a state.
    """

    kind: ClassVar[str]
    wants_look: ClassVar[bool] = False

    def __init__(self, parameter: str = "omega") -> None:
        if not isinstance(parameter, str) or not parameter:
            raise InputError(f"parameter: found {parameter!r}; wanted the name of a parameter")
        self.parameter = parameter
        self.method: str | None = None
        self.rounds, self.spent = 0, 0.0
        self.recent: deque[tuple[Any, float]] = deque(maxlen=RECENT)
        self._pending: tuple[Any, float | None] | None = None
        self._asked_by: int | None = None  # the thread that was suggested the pending value
        self._turn = Turn()

    def suggest(self, context: float | None = None) -> Any:
        """The value for the next system.

        Parameters
        ----------
        context : float, optional
            A number that tells this system from the others: a shift, a time step, a coefficient.

        Raises
        ------
        InputError
            For a context that is not a finite number, or one that the tuner cannot use.
        BusyError
            While a ``Sequence`` solves with the value suggested last, or another thread is in the tuner.
        """
        if context is not None:
            if type(context) is not float:
                if isinstance(context, bool) or not isinstance(context, Real):
                    raise InputError(f"context: found {context!r}; wanted a number or None")
                context = float(context)
            if not math.isfinite(context):
                raise InputError(f"context: found {context!r}; wanted a finite number")
        with self._turn.taken(f"{self.kind} tuner"):
            return self._hand_out(self._choose(context), context)

    def _hand_out(self, value: Any, context: float | None) -> Any:
        """The value, whose cost is what is observed next, and by the same thread."""
        self._pending, self._asked_by = (value, context), threading.get_ident()
        return value

    def observe(self, cost: float, evidence: Evidence | None = None) -> None:
        """What the solve with the value suggested last did cost, in any unit that stays the same.

        Parameters
        ----------
        cost : float
            At least 0.
        evidence : Evidence, optional
            What else the solve showed. Tuners that learn from costs alone ignore it.

        Raises
        ------
        InputError
            For a cost that is negative, infinite or NaN, and where nothing was suggested.
        BusyError
            Where the value suggested last was suggested to another thread, and as for ``suggest``.
        """
        if not ((type(cost) is float or isinstance(cost, Real)) and 0 <= cost < math.inf):
            raise InputError(f"cost: found {cost!r}; wanted a finite number of at least 0")
        cost = float(cost)
        with self._turn.taken(f"{self.kind} tuner"):
            if self._pending is None:
                raise InputError("observe: nothing was suggested since the last cost; call suggest first")
            if self._asked_by not in (None, threading.get_ident()):
                raise BusyError(
                    f"{self.kind} tuner: the value suggested last was suggested to another thread, whose cost this is "
                    "not; wanted suggest and observe in turn by one thread"
                )
            (value, context), self._pending = self._pending, None
            self._learn(value, cost, context, evidence)
            self.rounds += 1
            self.spent += cost
            self.recent.append((value, cost))

    def in_use(self) -> AbstractContextManager[None]:
        """Until its end nobody else is suggested anything: the value suggested last is at work."""
        return self._turn.taken(f"{self.kind} tuner")

    def fallback(self) -> Fallback | None:
        """What to go on with where the value suggested last turns out hopeless; None where this tuner knows nothing."""
        return None

    def inspect(self, look: Look | None) -> None:  # noqa: B027 - most tuners do not look at the matrix
        """What one pass over the entries of the next matrix showed; called before ``suggest`` if ``wants_look``."""

    def bind(self, method: str) -> None:
        """Tune for this method from now on.

        Raises
        ------
        InputError
            Where it has been tuning for another one, and for an omega with which relaxation diverges.
        """
        if self.method not in (None, method):
            raise InputError(
                f"tuner: what this {self.kind} tuner knows is about {self.method}, but the method is {method}; take a "
                "tuner of its own"
            )
        self.method = method

    def best_fixed_cost(self) -> float | None:
        """An estimate of what a round would have cost on average with the best single value; None without one."""
        return None

    @abstractmethod
    def _choose(self, context: float | None) -> Any:
        """The value for the next system."""

    @abstractmethod
    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        """Take note of a checked cost."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What it was made with, JSON-able; a state is loaded only where these are the same."""

    @abstractmethod
    def _memory(self) -> dict[str, Any]:
        """What it has learnt, JSON-able."""

    @abstractmethod
    def _recall(self, memory: dict[str, Any]) -> None:
        """The inverse of ``_memory``."""

    def state(self) -> dict[str, Any]:
        """All that is needed to go on in another program, the random generator included; ``json.dumps`` takes it."""
        return {
            "kind": self.kind,
            "parameter": self.parameter,
            "method": self.method,
            "settings": self.settings(),
            "rounds": self.rounds,
            "spent": self.spent,
            "pending": list(self._pending) if self._pending is not None else None,
            "memory": self._memory(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from where ``state`` was taken.

        Raises
        ------
        InputError
            For the state of another kind of tuner, another parameter, method or settings.
        """
        if not isinstance(state, dict):
            raise InputError(f"state: found {type(state).__name__}; wanted what a tuner's state() returned")
        missing = sorted(ENTRIES - state.keys())
        if missing:
            raise InputError(f"state: has no {', '.join(missing)}; wanted what a tuner's state() returned")
        if state["kind"] != self.kind:
            raise InputError(f"state: is that of a {state['kind']} tuner; this is a {self.kind} tuner")
        if state["parameter"] != self.parameter:
            raise InputError(f"state: is about {state['parameter']}; this tuner chooses {self.parameter}")
        if self.method is not None and state["method"] not in (None, self.method):
            raise InputError(f"state: was learnt with {state['method']}; this tuner serves {self.method}")
        for name, value in json.loads(json.dumps(self.settings())).items():
            found = json.loads(json.dumps(state["settings"].get(name)))
            if found != value:
                raise InputError(f"state: was taken with {name} = {found!r}; this tuner has {name} = {value!r}")
        self.method = state["method"] if state["method"] is not None else self.method
        self.rounds, self.spent = int(state["rounds"]), float(state["spent"])
        pending = state["pending"]
        self._pending, self._asked_by = None if pending is None else (pending[0], pending[1]), None
        self.recent.clear()
        self._recall(state["memory"])

    def _facts(self) -> Facts:
        """What is told of it: its costs, and the values chosen lately with what they cost, by round."""
        title = f"{self.kind} tuner of {self.parameter}"
        if not self.rounds:
            return Facts(title, "nothing observed yet")
        rows = [
            *([("tunes", self.method)] if self.method else []),
            ("cost", f"{self.spent:.6g}, {self.spent / self.rounds:.4g} a round"),
        ]
        best = self.best_fixed_cost()
        if best is not None:
            rows.append(("best single value", f"about {best:.4g} a round"))
        recent = list(self.recent)
        values, costs = [value for value, _ in recent], [cost for _, cost in recent]
        lately = "rounds" if len(recent) == self.rounds else f"of the latest {len(recent)} rounds"
        rows += rows_of_values(values, lately)
        first = self.rounds - len(recent) + 1
        return Facts(
            title,
            f"{self.rounds} rounds",
            rows=tuple(rows),
            charts=(
                curve_of("cost", "cost", costs, "round", first),
                curve_of("value", name_of_numbers(values, self.parameter), numbers_in(values), "round", first),
            ),
        )

    def _repr_html_(self) -> str:
        return in_html(self._facts())

    def __rich__(self) -> Any:
        return in_panel(self._facts())

    def __repr__(self) -> str:
        return f"<{self.kind} tuner of {self.parameter}, {self.rounds} rounds>"


class GridTuner(Tuner):
    """A tuner that chooses among some values, and draws at random.

    Parameters
    ----------
    values : sequence, optional
        Numbers, or anything JSON-able that the method takes: strings, lists, and dicts of several parameters, of which
        ``"method"`` is one. By default, for omega, 20 values from 1 to 1.95.
    parameter : str
    seed : int
    """

    def __init__(self, values: Sequence[Any] | None = None, *, parameter: str = "omega", seed: int = 0) -> None:
        super().__init__(parameter)
        self.values = checked_values(default_values(parameter) if values is None else values)
        for value in self.values:
            check_omega(value, parameter, None)
        self.seed = checked_seed(seed)
        # A stream of its own: the systems may have been drawn from default_rng(seed), and must not share its numbers.
        self.rng = np.random.default_rng([self.seed, *self.kind.encode()])
        self._index = 0

    def bind(self, method: str) -> None:
        for value in self.values:
            check_omega(value, self.parameter, method)
        super().bind(method)

    def settings(self) -> dict[str, Any]:
        return {"values": self.values}

    def _choose(self, context: float | None) -> Any:
        self._index = self._choose_index(context)
        return self.values[self._index]

    @abstractmethod
    def _choose_index(self, context: float | None) -> int:
        """Which of the values."""

    def _memory(self) -> dict[str, Any]:
        return {"index": self._index, "generator": self.rng.bit_generator.state}

    def _recall(self, memory: dict[str, Any]) -> None:
        self._index = int(memory["index"])
        self.rng.bit_generator.state = memory["generator"]


def checked_values(values: Any) -> list[Any]:
    """Values as a list of what JSON knows."""
    if isinstance(values, (str, dict)) or not hasattr(values, "__len__") or len(values) == 0:
        raise InputError(f"values: found {values!r}; wanted a sequence of at least one value")
    return [checked_value(value) for value in values]


def checked_value(value: Any) -> Any:
    """A value as it will be after a state was written down and read; refused where it cannot be."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_plain))
    except (TypeError, ValueError):
        raise InputError(f"values: found {value!r}; wanted finite numbers, strings, lists or dicts") from None


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError


def check_omega(value: Any, parameter: str, method: str | None) -> None:
    """Refuse a relaxation factor that diverges; other methods may have an omega of any size."""
    if isinstance(value, dict):
        method, inner = value.get("method", method), value.get("omega")
    else:
        inner = value if parameter == "omega" else None
    if method in RELAXATIONS and isinstance(inner, (int, float)) and not 0 < inner < 2:
        raise InputError(
            f"omega: found {inner!r}; wanted numbers in (0, 2): the spectral radius of SOR is at least |omega - 1|, so "
            "outside it diverges (Kahan 1958)"
        )


def checked_seed(seed: Any) -> int:
    """A seed that can be written down."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed: found {seed!r}; wanted an integer of at least 0")
    return int(seed)
