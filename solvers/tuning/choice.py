"""The choice among methods, each with a tuner of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from .evidence import Evidence, Look
from .thompson import GaussianThompson
from .tuner import Fallback, Tuner

__all__ = ["Choice"]

MEMORY = 1000  # rounds after which a cost counts a third


class Choice(Tuner):
    """Thompson sampling over methods; the parameter of the method drawn is left to that method's tuner.

    Parameters
    ----------
    methods : dict of str to Tuner or None
        Names of methods; None for one without parameters.
    seed : int

    Raises
    ------
    InputError
        For an empty dict, or something that is no tuner.

    Notes
    -----
    A round costs 15 microseconds and what the tuner of the method drawn costs. Methods are compared by the costs they
    had on systems of their own, so that a method is not found out on few systems where these differ a lot.

    References
    ----------
    As in ``GaussianThompson``.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.gallery.poisson((10, 10))
    >>> tuner = rv.tuning.Choice({"jacobi": None, "cg": None})
    >>> sequence = rv.Sequence(["jacobi", "cg"], tuner=tuner, warm_start=None, cost="work")
    >>> for _ in range(30):
    ...     solution = sequence.solve(problem.A, problem.b)
    >>> tuner.best
    'cg'
    """

    kind = "Choice"
    wants_look = True

    def __init__(self, methods: Mapping[str, Tuner | None], *, seed: int = 0) -> None:
        super().__init__("method")
        if not isinstance(methods, Mapping) or not methods:
            raise InputError(f"methods: found {methods!r}; wanted a dict of names to tuners")
        for name, tuner in methods.items():
            if tuner is not None and not isinstance(tuner, Tuner):
                raise InputError(f"methods: found {tuner!r} for {name}; wanted a tuner or None")
        self.methods = dict(methods)
        self.among = GaussianThompson(list(self.methods), parameter="method", smoothness=0, memory=MEMORY, seed=seed)
        self._name = ""

    @property
    def best(self) -> str:
        """The method believed to be cheapest."""
        return str(self.among.best)

    def bind(self, method: str) -> None:
        super().bind(method)
        for name, tuner in self.methods.items():
            if tuner is not None:
                tuner.bind(name)

    def inspect(self, look: Look | None) -> None:
        for tuner in self.methods.values():
            if tuner is not None:
                tuner.inspect(look)

    def best_fixed_cost(self) -> float | None:
        return self.among.best_fixed_cost()

    def settings(self) -> dict[str, Any]:
        return {
            name: None if tuner is None else {"kind": tuner.kind, **tuner.settings()}
            for name, tuner in self.methods.items()
        }

    def _choose(self, context: float | None) -> dict[str, Any]:
        self._name = self.among.suggest()
        tuner = self.methods[self._name]
        return {"method": self._name} if tuner is None else self._with_method(tuner, tuner.suggest(context))

    def _with_method(self, tuner: Tuner, value: Any) -> dict[str, Any]:
        """A value of that method's tuner, and the method."""
        return {"method": self._name, **(value if isinstance(value, dict) else {tuner.parameter: value})}

    def fallback(self) -> Fallback | None:
        tuner = self.methods.get(self._name)
        known = None if tuner is None else tuner.fallback()
        if tuner is None or known is None:
            return None
        return known if known.value is None else known._replace(value=self._with_method(tuner, known.value))

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        self.among.observe(cost)
        tuner = self.methods[self._name]
        if tuner is not None:
            tuner.observe(cost, evidence)

    def _memory(self) -> dict[str, Any]:
        tuners = {name: None if tuner is None else tuner.state() for name, tuner in self.methods.items()}
        return {"name": self._name, "among": self.among.state(), "tuners": tuners}

    def _recall(self, memory: dict[str, Any]) -> None:
        self._name = memory["name"]
        self.among.load(memory["among"])
        for name, tuner in self.methods.items():
            if tuner is not None:
                tuner.load(memory["tuners"][name])
