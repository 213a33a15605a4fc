"""The figure that chooses a method: questions about A, and where each answer leads.

A Sphinx extension: a page writes ```{resolvent-decision}```. What an iteration costs, what it needs of A and whether
rv.solve chooses it by itself are read from the methods; the colours are those of the page, light or dark.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import resolvent as rv
from resolvent.solvers.least_squares.lstsq import METHODS as LEAST_SQUARES
from resolvent.solvers.methods import STAGES

WIDTH = 360  # that of a telephone: units are its pixels
LEFT, RIGHT = (2, 142), (184, 174)  # x and width of questions and of answers
LINE, PAD, GAP = 16, 8, 10  # heights: of a line of text, inside a box, between boxes
LETTERS = (19, 23)  # that fit into a line of either

STYLE = """
.decision { display: block; width: 100%; max-width: 30rem; height: auto; margin: 1rem auto;
  font: 12px system-ui, sans-serif; }
.decision text { fill: var(--pst-color-text-base, CanvasText); }
.decision .cost { fill: var(--pst-color-text-muted, CanvasText); }
.decision a text { fill: var(--pst-color-link, LinkText); font-weight: 600; text-decoration: underline; }
.decision rect { fill: var(--pst-color-surface, Canvas); stroke: var(--pst-color-border, CanvasText); }
.decision rect.chosen { stroke: var(--pst-color-primary, CanvasText); stroke-width: 2; }
.decision path { fill: none; stroke: var(--pst-color-text-muted, CanvasText); }
.decision path.head { fill: var(--pst-color-text-muted, CanvasText); stroke: none; }
"""


@dataclass(frozen=True)
class Answer:
    """A method, and when it is meant where a question leads to several.

    Attributes
    ----------
    name : str
        Of ``rv.METHODS``, or of those of least squares.
    when : str
    """

    name: str
    when: str = ""

    @property
    def kind(self) -> Any:
        """The class of the method."""
        return LEAST_SQUARES[self.name] if self.name in LEAST_SQUARES else rv.METHODS[self.name]

    @property
    def page(self) -> str:
        """Where it is described."""
        return "least_squares" if self.name in LEAST_SQUARES else f"methods/{self.name}"

    @property
    def chosen(self) -> bool:
        """Whether rv.solve may choose it by itself."""
        return self.name in LEAST_SQUARES or any(self.name in stage for stage in STAGES)

    @property
    def cost(self) -> tuple[str, ...]:
        """What an iteration costs, and what it needs besides products with A; a line each."""
        if self.name in LEAST_SQUARES:
            return "1 product with A", "1 product with Aᴴ"
        cost, kind = self.kind.traffic, self.kind
        said = [f"{_count(cost.matvecs, 'product')}, {_count(cost.vectors, 'vector')}"]
        said += [] if cost.reductions else ["no inner products"]
        return (*said, "needs entries of A") if kind.needs_entries else tuple(said)

    def __str__(self) -> str:
        return f"{self.when and self.when + ':'} {self.kind.title} ({', '.join(self.cost)})".strip()


@dataclass(frozen=True)
class Question:
    """What is asked of A, and where yes leads; no leads to the next."""

    words: str
    answers: tuple[Answer, ...]


QUESTIONS = (
    Question("Is A rectangular, or singular and not Hermitian?", (Answer("lsmr"),)),
    Question(
        "Is A triangular, or not Hermitian but diagonally dominant?",
        (Answer("gauss_seidel", "One sweep if triangular"), Answer("jacobi", "One step if diagonal")),
    ),
    Question(
        "Is A Hermitian and positive definite?",
        (
            Answer("cg", "In general"),
            Answer("ssor_cg", "Many such systems in a row"),
            Answer("chebyshev", "Ends of the spectrum known, inner products dear"),
        ),
    ),
    Question("Is A Hermitian, but indefinite or singular?", (Answer("minres"),)),
    Question("Is there a good M, or memory for a basis?", (Answer("gmres"),)),
    Question("Are eigenvalues far from the real axis?", (Answer("idrs"),)),
)
OTHERWISE = Answer("bicgstab")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")


def in_words() -> str:
    """The figure as text, for those who do not see it."""
    said = [f"{question.words} If so: {'; '.join(map(str, question.answers))}." for question in QUESTIONS]
    return " ".join([*said, f"Otherwise: {OTHERWISE}."])


def figure(address: Callable[[str], str] = "{}.html".format) -> str:
    """The figure as SVG, to stand in a page of HTML.

    Parameters
    ----------
    address : function
        From the name of a page to what a link to it says.
    """
    parts: list[str] = []
    y = 2.0
    for number, question in enumerate(QUESTIONS):
        words = textwrap.wrap(question.words, LETTERS[0])
        answers = [_lines(answer) for answer in question.answers]
        asked = _height(len(words))
        told = sum(_height(len(lines)) for lines in answers) + GAP * (len(answers) - 1)
        row = max(asked, told)
        top = y + (row - asked) / 2 if len(answers) == 1 else y
        parts += _box(LEFT, top, words)
        middle, x = top + asked / 2, sum(LEFT)
        at = y + (row - told) / 2
        for answer, lines in zip(question.answers, answers, strict=True):
            height = _height(len(lines))
            # Straight where it can be, with a bend where several answers share a question.
            end = middle if len(answers) == 1 else at + height / 2
            parts.append(_arrow(f"M{x} {middle:g} H{x + 26} V{end:g} H{RIGHT[0] - 6}", RIGHT[0], end, down=False))
            parts += _box(RIGHT, at, lines, answer, address)
            at += height + GAP
        parts.append(f'<text x="{x + 4}" y="{middle - 5:g}">yes</text>')
        y += row + 2.4 * GAP
        below = y if number == len(QUESTIONS) - 1 else y + _indent(QUESTIONS[number + 1])
        centre = LEFT[0] + LEFT[1] / 2
        parts.append(_arrow(f"M{centre:g} {top + asked:g} V{below - 6:g}", centre, below, down=True))
        parts.append(f'<text x="{centre + 8:g}" y="{top + asked + 16:g}">no</text>')
    last = _lines(OTHERWISE)
    parts += _box((LEFT[0], RIGHT[1]), y, last, OTHERWISE, address)
    y += _height(len(last)) + 2
    body = "\n".join(parts)
    return (
        f'<svg class="decision" viewBox="0 0 {WIDTH} {y:g}" xmlns="http://www.w3.org/2000/svg" role="group" '
        f'aria-labelledby="decision-title decision-words">\n<title id="decision-title">Which method for A x = b</title>'
        f'\n<desc id="decision-words">{escape(in_words())}</desc>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _indent(question: Question) -> float:
    """How far below the top of its row a question's box begins."""
    if len(question.answers) > 1:
        return 0.0
    asked = _height(len(textwrap.wrap(question.words, LETTERS[0])))
    return (max(asked, _height(len(_lines(question.answers[0])))) - asked) / 2


def _lines(answer: Answer) -> list[tuple[str, str]]:
    """The text of an answer: lines, and the class of each."""
    when = [(line, "") for line in textwrap.wrap(answer.when, LETTERS[1])]
    name = [(line, "name") for line in textwrap.wrap(answer.kind.title, LETTERS[1])]
    return [*when, *name, *((line, "cost") for line in answer.cost)]


def _height(lines: int) -> float:
    return lines * LINE + 2 * PAD


def _box(
    column: tuple[int, int],
    y: float,
    lines: list[Any],
    answer: Answer | None = None,
    address: Callable[[str], str] | None = None,
) -> list[str]:
    """A box with lines of text, of an answer with a link."""
    x, width = column
    style = ' class="chosen"' if answer is not None and answer.chosen else ""
    corners = 4 if answer is None else 12
    size = f'x="{x}" y="{y:g}" width="{width}" height="{_height(len(lines)):g}" rx="{corners}"'
    parts = [f"<rect {size}{style}/>"]
    for number, line in enumerate(lines):
        text, kind = (line, "") if isinstance(line, str) else line
        at = f'x="{x + PAD}" y="{y + PAD + (number + 0.75) * LINE:g}"'
        if kind == "name" and answer is not None and address is not None:
            parts.append(f'<a href="{escape(address(answer.page))}"><text {at}>{escape(text)}</text></a>')
        else:
            parts.append(f"<text {at}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</text>")
    return parts


def _arrow(path: str, x: float, y: float, *, down: bool) -> str:
    """A line that ends at (x, y) in a head."""
    wings = f"L{x - 4:g} {y - 7:g} H{x + 4:g} Z" if down else f"L{x - 7:g} {y - 4:g} V{y + 4:g} Z"
    return f'<path d="{path}"/><path class="head" d="M{x:g} {y:g} {wings}"/>'


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class ResolventDecision(SphinxDirective):
        """The figure, with links to the pages of the methods."""

        def run(self) -> list[Any]:
            self.env.note_reread()  # it changes with the methods, not with the page
            here = self.env.docname
            svg = figure(lambda page: app.builder.get_relative_uri(here, page))
            return [nodes.raw("", svg, format="html")]

    app.add_directive("resolvent-decision", ResolventDecision)
    return {"version": "1", "parallel_read_safe": True}
