"""Run the Python of a Markdown page, and hold what it prints to what the page says.

A block of ```python``` is a doctest session if it starts with ``>>>``, otherwise a script; the blocks of a page follow
one another in one namespace. A block of ```text``` right after a script is what the script printed once: the words must
be the same, numbers and drawn lines may differ, and ``...`` stands for anything. From a shell:
python docs/pages.py README.md docs/tutorial.md
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^(```+)(\S*)[^\n]*\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
# Numbers, with the unit of a time, and the residual drawn as a line of blocks.
VARIES = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?(?: (?:s|ms|µs)\b)?|[▁▂▃▄▅▆▇█]+")


class Block(NamedTuple):
    """A fenced block: its language, its text, the line it starts at, and whether only blanks part it from the last."""

    language: str
    text: str
    line: int
    follows: bool


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a page.

    Examples
    --------
    >>> blocks("```python\\n1 + 1\\n```\\n")
    [Block(language='python', text='1 + 1\\n', line=2, follows=True)]
    """
    found, end = [], 0
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 2
        found.append(Block(match[2], match[3], line, not markdown[end : match.start()].strip()))
        end = match.end()
    return found


def run(path: Path) -> int:
    """Run a page; returns how many blocks were run, and raises AssertionError where one does not do what it says."""
    page = blocks(path.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for block, after in zip(page, [*page[1:], None], strict=True):
        if block.language != "python":
            continue
        ran += 1
        name = f"{path.name}, line {block.line}"
        if block.text.startswith(">>>"):
            _session(block, name, namespace)
        else:
            wanted = after.text if after is not None and after.language == "text" and after.follows else None
            _script(block, name, namespace, wanted)
    return ran


def _session(block: Block, name: str, namespace: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, namespace, name, name, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=said.write, clear_globs=False)
    namespace.update(test.globs)
    assert runner.failures == 0, said.getvalue()


def _script(block: Block, name: str, namespace: dict[str, Any], wanted: str | None) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block.text, name, "exec"), namespace)
    got = said.getvalue()
    if wanted is not None:
        got, wanted = VARIES.sub("#", got), VARIES.sub("#", wanted)
        example = doctest.Example("", wanted)
        checker = doctest.OutputChecker()
        assert checker.check_output(wanted, got, OPTIONS), f"{name}\n{checker.output_difference(example, got, OPTIONS)}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        with warnings.catch_warnings():
            try:
                print(f"{argument}: {run(Path(argument))} blocks")
            except AssertionError as error:
                print(error)
