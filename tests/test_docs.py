"""The documentation's code runs and prints what it says, its numbers are the code's, and nothing public is left out."""

import importlib.util
import json
import pathlib
import re
import shlex
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends import Backend
from resolvent.cli.main import main
from resolvent.precision import supported_dtypes
from resolvent.precision.policy import POLICIES
from resolvent.precision.rounding_rule import ROUNDINGS
from resolvent.solvers.compiled_loops import LOOPS
from resolvent.solvers.methods import STAGES

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in (*DOCS.glob("*.md"), *DOCS.glob("methods/*.md")))
WITH_CODE = [path for path in PAGES if "```python" in path.read_text(encoding="utf-8")]
NEEDS = {"load_finite_elements": "pyamg", "import torch": "torch", "import ml_dtypes": "ml_dtypes"}


def script(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for what their annotations name
    spec.loader.exec_module(module)
    return module


pages, tables, decision = script("pages"), script("tables"), script("decision")


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_code_runs(path, tmp_path, monkeypatch):
    text = path.read_text(encoding="utf-8")
    for sign, package in NEEDS.items():
        if sign in text:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    assert pages.run(path) == text.count("```python\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tutorial", "command_line"])
def test_shell_commands_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = pages.blocks((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    lines = [line for block in found if block.language == "sh" for line in block.text.splitlines()]
    assert lines
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr())


def test_every_operation_of_a_backend_is_on_its_page():
    text = (DOCS / "backends.md").read_text(encoding="utf-8").partition("## The protocol")[2]
    named = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", text.partition("\n## ")[0]))
    assert Backend.__abstractmethods__ <= named


@pytest.mark.parametrize("name", rv.METHODS)
def test_every_method_has_a_page_with_its_costs(name):
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    cost = rv.METHODS[name].traffic
    found = re.search(r"(\d+) vector passes(?: \((\d+) compiled\))?", text)
    assert found is not None
    assert int(found[1]) == cost.passes
    assert int(found[2] or found[1]) == cost.compiled_passes
    for heading in ("Update", "Convergence", "Cost and storage", "Attainable accuracy", "When to use it", "References"):
        assert f"\n## {heading}\n" in text
    assert name in (DOCS / "methods" / "index.md").read_text(encoding="utf-8").split("{toctree}")[1]


def test_reference_lists_all_public_names():
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    modules = {"gallery", "layers", "newton_schulz", "precision", "precondition", "tuning"}
    missing = [
        name
        for name in (*rv.__all__, *rv.precision.__all__)
        if name not in modules and not re.search(rf"^ +{name}$|^`{name}`$", text, re.M)
    ]
    assert missing == []
    homes = (
        (rv.gallery, {"GALLERY", "fixed_points", "state_tracking"}),
        (rv.gallery.fixed_points, {"FIXED_POINTS"}),
        (rv.gallery.state_tracking, {"STATE_TRACKING"}),
        (rv.newton_schulz, set()),
    )
    for home, apart in homes:
        listed = text.split(f"currentmodule:: {home.__name__}\n")[1].split("currentmodule::")[0]
        assert [name for name in home.__all__ if name not in apart and f"   {name}\n" not in listed] == []


@pytest.mark.parametrize("name", tables.TABLES)
def test_tables_are_tables(name):
    lines = tables.TABLES[name]().splitlines()
    assert len(lines) > 2
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_figure_of_methods_has_what_solve_chooses_and_links_to_their_pages():
    shown = [answer for question in decision.QUESTIONS for answer in question.answers] + [decision.OTHERWISE]
    names = {answer.name for answer in shown}
    assert {name for name in rv.METHODS if any(name in stage for stage in STAGES)} <= names
    assert {answer.name for answer in shown if not answer.chosen} == {"ssor_cg", "chebyshev", "idrs"}
    figure = ElementTree.fromstring(decision.figure())
    links = {link.get("href") for link in figure.iter("{http://www.w3.org/2000/svg}a")}
    assert links == {f"{answer.page}.html" for answer in shown}
    assert all((DOCS / f"{answer.page}.md").exists() for answer in shown)


def test_figure_of_methods_is_told_in_words_and_takes_the_colours_of_the_page():
    figure = ElementTree.fromstring(decision.figure())
    words = figure.find("{http://www.w3.org/2000/svg}desc").text
    assert figure.get("aria-labelledby").split()[1] == "decision-words"
    assert "Is A Hermitian, but indefinite or singular? If so: MINRES (1 product, 6 vectors)." in words
    assert not re.search(r"#[0-9a-f]{3}|\brgb", decision.STYLE)


def test_text_of_the_figure_of_methods_stays_inside_its_boxes():
    svg = "{http://www.w3.org/2000/svg}"
    figure = ElementTree.fromstring(decision.figure())
    boxes = [[float(box.get(one)) for one in ("x", "y", "width", "height")] for box in figure.iter(f"{svg}rect")]
    width, height = map(float, figure.get("viewBox").split()[2:])
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for text in figure.iter(f"{svg}text"):
        if text.text in ("yes", "no"):
            continue
        left, base, length = float(text.get("x")), float(text.get("y")), 6.9 * len(text.text)
        assert any(x < left and left + length < x + w and y < base < y + h for x, y, w, h in boxes), text.text


def test_every_page_is_used():
    used = {DOCS / "index.md"}
    for page in PAGES:
        for block in pages.blocks(page.read_text(encoding="utf-8")):
            if block.language == "{toctree}":
                used |= {(page.parent / f"{name}.md").resolve() for name in block.text.split() if ":" not in name}
    assert used == set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", supported_dtypes, ids=str)
@pytest.mark.parametrize("backend", [name for name in rv.BACKENDS if name != "cupy"])
@pytest.mark.parametrize("method", rv.METHODS)
def test_table_of_what_runs_where_is_true(method, backend, dtype):
    A = np.array([[4, 1, 0], [1, 5, 1], [0, 1, 4]], dtype)
    b = np.ones(3, dtype)
    if backend == "array_api":
        xp = pytest.importorskip("array_api_strict")
        A, b = xp.asarray(A), xp.asarray(b)
    elif backend == "torch":
        torch = pytest.importorskip("torch")
        A, b = torch.tensor(A), torch.tensor(b)
    solution = rv.solve(A, b, method=method, backend=backend, rtol=1e-4)
    assert solution.converged
    assert solution.precision == dtype.name


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "array_api", "torch"])
def test_every_backend_emulates(backend):
    A, b = np.array([[4.0, 1, 0], [1, 5, 1], [0, 1, 4]]), np.ones(3)
    if backend == "array_api":
        xp = pytest.importorskip("array_api_strict")
        A, b = xp.asarray(A), xp.asarray(b)
    elif backend == "torch":
        torch = pytest.importorskip("torch")
        A, b = torch.tensor(A), torch.tensor(b)
    for name in ("fp32", "tf32", "bf16", "fp16"):
        solution = rv.cg(A, b, rtol=0.02, precision=name, backend=backend)
        assert solution.converged
        assert solution.backend == backend


def test_policies_and_roundings_are_explained():
    page = (DOCS / "precision.md").read_text(encoding="utf-8")
    assert [name for name in POLICIES if f"\n`{name}`\n:" not in page] == []
    table = (DOCS / "rounding.md").read_text(encoding="utf-8")
    assert [name for name in ROUNDINGS if f"`{name}`" not in table] == []


def test_delays_are_those_of_the_script():
    """The data beside the figures are complete; tests/test_examples.py makes them anew."""
    assert tables.TABLES["delays"]().count("\n") == 2 + 3 * 5


def test_figures_of_a_gpu_are_the_newest_of_each(tmp_path):
    assert "| none taken on a GPU so far |" in tables.gpu_figures_table(tmp_path)
    for stem, device, value in (("h-2026-01-02", "H", 2.0), ("h-2026-03-01", "H", 3.0), ("a-2026-02-01", "A", None)):
        setting = {"device": device, "date": stem[-10:], "commit": "abc", "versions": {"torch": "2"}}
        row = {"what": "speed", "value": value, "unit": "x", "least": 2.5, "note": ""}
        (tmp_path / f"gpu-{stem}.json").write_text(json.dumps({"setting": setting, "rows": [row]}))
    found = tables.gpu_figures_table(tmp_path)
    assert "H, 2026-03-01, commit abc; torch 2:" in found
    assert "2026-01-02" not in found
    assert "| speed | 3 x | 2.5 x |  |" in found
    assert "| speed | failed | 2.5 x |  |" in found


@pytest.mark.parametrize("name", ["errors", "budgets", "precisions", "presets"])
def test_tables_of_schedules_are_current(name):
    spec = importlib.util.spec_from_file_location(
        "tables_of_schedules", DOCS.parent / "benchmarks/newton_schulz_tables.py"
    )
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    rows = [",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in made.TABLES[name]()]
    assert (DOCS / "images" / f"newton_schulz_{name}.csv").read_text(encoding="utf-8").splitlines() == rows


def test_compiled_loops_are_of_methods():
    assert {name for name in rv.METHODS if not tables.has_loop(name)} == {"minres", "gmres", "idrs"}
    assert {name for name in rv.METHODS if not tables.has_loop(name, "cupy")} == {"ssor_cg", "gmres", "idrs"}
    on_host, on_device = {"csr", "diagonals", "stencil", "dense"}, {"cupy csr", "cupy diagonals", "cupy stencil"}
    assert {storage for _, storage, _ in LOOPS} == on_host | on_device


@pytest.mark.slow
def test_hostile_inputs_are_answered_as_the_page_says():
    """Of Resolvent alone: the other libraries are those of the machine on which the page was made."""
    hostile = script("hostile")
    page = (DOCS / "hostile_inputs.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    cases = {case.title: case for case in hostile.inputs()}
    assert set(cases) == set(sections)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, case in cases.items():
            for method in case.methods:
                outcome = hostile.by_resolvent(case, method)
                assert not hostile.judged(case, outcome, hostile.true_residual(case, outcome.x)), (title, method)
                assert f"| resolvent `{method}` | {hostile._cell(outcome.said)} |" in sections[title]
