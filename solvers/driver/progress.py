"""What a callback is told, and the live line for a person watching."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ...compilation import LISTENERS
from ...errors import InputError
from .no_array import NoArray

__all__ = ["CompilingLine", "LiveLine", "Progress", "watched"]


class Progress(NoArray):
    """Where a solve stands, handed to ``callback`` after every iteration. It is no array: the iterate is its ``x``.

    Attributes
    ----------
    iteration : int
    residual_norm : float
        As the method carries it, in the units of b; the latest known where it is not known every iteration.
    relative_residual : float
        The same over ||b||.
    tolerance : float
        What relative_residual has to reach.
    seconds : float
        Since the start.
    """

    __slots__ = ("_solution", "iteration", "relative_residual", "residual_norm", "seconds", "tolerance")

    def __init__(
        self,
        iteration: int,
        residual_norm: float,
        relative_residual: float,
        tolerance: float,
        seconds: float,
        solution: Callable[[], Any],
    ) -> None:
        self.iteration, self.residual_norm, self.relative_residual = iteration, residual_norm, relative_residual
        self.tolerance, self.seconds = tolerance, seconds
        self._solution: Callable[[], Any] | None = solution

    @property
    def x(self) -> Any:
        """A copy of the iterate, in the caller's units; at hand while the callback runs, since the next step writes on.

        Raises
        ------
        InputError
            When it is asked for later.
        """
        if self._solution is None:
            raise InputError("Progress.x: found a solve that has gone on; keep x while the callback runs")
        return self._solution()

    _fields_said = ".iteration and .relative_residual tell where the solve stands"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._no_attribute(name), name=name, obj=self)

    def close(self) -> None:
        """The iterate is about to change."""
        self._solution = None

    def __repr__(self) -> str:
        return (
            f"<iteration {self.iteration}: relative residual {self.relative_residual:.2e} after {self.seconds:.2f} s>"
        )


def watched() -> Any:
    """The console of a person who is watching, or None: without a terminal or a notebook nobody is."""
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal or console.is_jupyter else None


class LiveLine:
    """One line in the terminal or notebook: iterations, residual, rate, time left. Drawn at most ten times a second."""

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        console = watched()
        self.display = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=console is None or not console.is_terminal,
        )
        self.task = self.display.add_task(title, total=1.0, text="before the first iteration")
        self.last = -math.inf
        self.display.start()
        self.output = _output_of_a_cell(self.display) if console is not None and console.is_jupyter else None
        _SHOWN.append(self)

    def begin(self, initial: float, tolerance: float) -> None:
        """The way from this relative residual to that one is what is shown."""
        self.span = math.log(max(initial, 1e-300) / tolerance) if tolerance > 0 else math.inf
        self.tolerance = tolerance

    def update(self, iteration: int, relative_residual: float, rate: float, seconds: float) -> None:
        """Redraw when a tenth of a second has passed."""
        now = time.perf_counter()
        if now - self.last < 0.1:
            return
        self.last = now
        left = math.log(relative_residual / self.tolerance) if relative_residual > 0 < self.tolerance else math.nan
        left = max(left, 0.0) if left == left else left
        share = 1 - left / self.span if 0 < self.span < math.inf and left == left else 0.0
        eta = seconds * left / (self.span - left) if self.span - left > 0 else math.nan
        pace = f" · rate {rate:.4f}" if rate == rate else ""
        text = f"{iteration} iterations · residual {relative_residual:.1e}{pace} · {seconds:.0f} s · {_left(eta)}"
        self.display.update(self.task, completed=min(max(share, 0.0), 1.0), text=text)
        if self.output is not None:
            self.output.update(self.display)

    def say(self, share: float, text: str) -> None:
        """Redraw at once: so much of the work is done, and this is what goes on."""
        self.display.update(self.task, completed=share, text=text)
        if self.output is not None:
            self.output.update(self.display)

    def close(self) -> None:
        """Leave the terminal or the cell as it was."""
        _SHOWN.remove(self)
        self.display.stop()
        if self.output is not None:
            self.output.update({"text/plain": ""}, raw=True)


def _output_of_a_cell(shown: Any) -> Any:
    """Output of the cell that runs, which can be drawn anew; rich itself would need ipywidgets for that."""
    from IPython.display import display

    return display(shown, display_id=True)


# Live lines that are shown now, which say themselves what there is to say.
_SHOWN: list[LiveLine] = []


class CompilingLine:
    """One line in the terminal or notebook while kernels are compiled; it is gone when they are."""

    def __init__(self) -> None:
        self.status: Any = None
        self.output: Any = None

    def __call__(self, name: str | None) -> None:
        """The kernel of this name is about to be compiled; None when all are done."""
        if self.status is not None:
            self.status.stop()
            self.status = None
        if self.output is not None:
            self.output.update({"text/plain": ""}, raw=True)
            self.output = None
        if name is None:
            return
        text = f"Compiling {name}, once: later runs find it on disk"
        if _SHOWN:
            _SHOWN[-1].display.update(_SHOWN[-1].task, text=text)
        elif (console := watched()) is not None:
            if console.is_jupyter:
                from rich.text import Text

                self.output = _output_of_a_cell(Text(text))
            else:
                self.status = console.status(text)
                self.status.start()


LISTENERS.append(CompilingLine())


def _left(eta: float) -> str:
    return f"{eta:.0f} s left" if math.isfinite(eta) else "time left unknown"
