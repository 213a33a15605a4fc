"""The README keeps its word: its table is current, its code runs, and what it mentions is there."""

import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from resolvent.cli.main import main

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def script(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables, pages = script("tables"), script("pages")


def test_table_is_current():
    assert tables.renewed(TEXT) == TEXT, "run python docs/tables.py --write README.md"


@pytest.mark.slow
def test_table_is_checked_and_written(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "tables.py")]
    assert subprocess.run([*command, "--check", str(README)]).returncode == 0
    old = tmp_path / "OLD.md"
    old.write_text(TEXT.replace("| `rv.cg`", "| `rv.gc`", 1), encoding="utf-8")
    stale = subprocess.run([*command, "--check", str(old)], capture_output=True, text=True)
    assert stale.returncode == 1
    assert "out of date" in stale.stderr
    assert subprocess.run([*command, "--write", str(old)]).returncode == 0
    assert old.read_text(encoding="utf-8") == TEXT


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="methods:begin"):
        tables.renewed("nothing here")


@pytest.mark.slow
def test_code_runs(tmp_path, monkeypatch):
    pytest.importorskip("pyamg")
    monkeypatch.chdir(tmp_path)
    assert pages.run(README) >= 3


@pytest.mark.slow
def test_shell_commands_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyamg")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in pages.blocks(TEXT) if block.language == "sh" for line in block.text.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("resolvent ")]
    assert len(commands) >= 3
    for command in commands:
        assert main(command) == 0, capsys.readouterr()
    assert {"A.mtx", "A_b.mtx", "x.mtx", "residual.png"} <= {path.name for path in tmp_path.iterdir()}


def test_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    mentioned = set(re.findall(r"(?:^\s*|`)make ([a-z]+)", TEXT, re.MULTILINE))
    assert {"demo", "test", "bench", "docs"} <= mentioned <= set(targets)


def test_the_two_commands_come_first():
    assert TEXT.index("make demo") < TEXT.index("make test") < TEXT.index("```python")


def test_what_is_mentioned_exists():
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)", TEXT)
    named = re.findall(r"`([a-z_]+/[\w./]+)`", TEXT)
    made = {"build/docs"}
    assert linked
    assert named
    assert [path for path in {*linked, *named} - made if not (ROOT / path).exists()] == []


def test_links_hold_wherever_the_page_is_shown():
    """An index of packages shows it without the files beside it, and what the figure is called in its place."""
    assert not re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:|#)[^)]*\)", TEXT)
    assert all(len(named) > 40 for named in re.findall(r"!\[([^\]]*)\]", TEXT))


def test_a_page_that_prints_something_else_is_found(tmp_path):
    page = tmp_path / "page.md"
    for wrong in ("```python\nprint('one')\n```\n\n```text\ntwo\n```\n", "```python\n>>> 1 + 1\n3\n```\n"):
        page.write_text(wrong, encoding="utf-8")
        with pytest.raises(AssertionError, match="line 2"):
            pages.run(page)
    page.write_text("```python\nk = 4\n```\ntext\n```python\n>>> k\n4\n```\n", encoding="utf-8")
    assert pages.run(page) == 2
