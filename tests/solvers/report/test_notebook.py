"""What notebooks and rich terminals show: well-formed, escaped, small, readable in light and dark, and the numbers."""

import io
import itertools
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import resolvent as rv
from resolvent.solvers.driver import progress
from resolvent.solvers.report.facts import Curve, Facts, Level, Outcome, facts_of
from resolvent.solvers.report.html import DARK, LIGHT, STYLE, in_html
from resolvent.solvers.report.svg import svg
from resolvent.solvers.report.terminal import in_panel
from resolvent.solvers.report.text import in_text

A, b = rv.gallery.poisson((12, 12)).A, np.linspace(1, 2, 144)


@pytest.fixture(autouse=True)
def quiet():
    """Solves that do not converge are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def parsed(html):
    """The element tree, of what must be well-formed and small, and have no scripts and nothing from elsewhere."""
    assert len(html.encode()) < 30_000
    tree = ElementTree.fromstring(html)
    for element in tree.iter():
        name = element.tag.rpartition("}")[2]
        assert name in {
            *("div", "style", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"),
            *("svg", "title", "desc", "path", "polyline", "text", "circle", "rect"),
        }
        assert not any(attribute.startswith("on") or "href" in attribute for attribute in element.attrib)
    assert "url(" not in html
    assert "@import" not in html
    return tree


def all_of(tree, name, kind=None):
    return [
        element
        for element in tree.iter()
        if element.tag.rpartition("}")[2] == name and (kind is None or kind in element.get("class", "").split())
    ]


def said(tree):
    """The text of the page, without its style."""
    return " ".join("".join(part.itertext()) for part in tree if part.tag != "style")


def in_colour(shown, width=100):
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    console.print(shown)
    return console.file.getvalue()


def plain_of(shown, width=100):
    return re.sub(r"\x1b\[[0-9;]*m", "", in_colour(shown, width))


def axis(tree, logarithmic=True):
    """The maps from pixels to numbers, recovered from the labels of the two axes."""
    ticks = [(float(e.get("y")) - 3.5, float(e.text)) for e in all_of(tree, "text", "rv-y")]
    steps = [(float(e.get("x")), float(e.text)) for e in all_of(tree, "text", "rv-x")]
    assert len(ticks) >= 2
    assert len(steps) >= 2
    heights, numbers = np.array(ticks).T
    slope, start = np.polyfit(heights, np.log10(numbers) if logarithmic else numbers, 1)
    pace, first = np.polyfit(*np.array(steps).T, 1)
    return (lambda x: first + pace * x), (lambda y: start + slope * y), abs(slope)


def points_of(tree):
    (line,) = all_of(tree, "polyline", "rv-curve")
    return np.array([[float(part) for part in pair.split(",")] for pair in line.get("points").split()]).T


@pytest.mark.parametrize("size", [1e-290, 1.0, 1e290])
def test_the_curve_is_the_residual(size):
    seen = []
    solution = rv.cg(A, b * size, rtol=1e-8, callback=lambda at: seen.append(np.linalg.norm(b - A @ (at.x / size))))
    tree = parsed(solution._repr_html_())
    x, y = points_of(tree)
    to_iteration, to_logarithm, decades = axis(tree)
    np.testing.assert_allclose(to_iteration(x), np.arange(solution.iterations + 1), atol=0.1)
    wanted = np.log10(np.array([np.linalg.norm(b), *seen]) / np.linalg.norm(b))
    np.testing.assert_allclose(to_logarithm(y), wanted, atol=0.15 * decades)


def test_tolerance_attainable_accuracy_and_the_true_residual_are_where_they_belong():
    solution = rv.cg(A.astype(np.float32), b.astype(np.float32), rtol=1e-5)
    tree = parsed(solution._repr_html_())
    _, to_logarithm, decades = axis(tree)
    wanted = {"rv-tolerance": 1e-5, "rv-attainable": solution.attainable_residual}
    for kind, value in wanted.items():
        (line,) = all_of(tree, "path", kind)
        height = float(re.match(r"M\d+ ([\d.]+)H", line.get("d"))[1])
        assert to_logarithm(height) == pytest.approx(np.log10(value), abs=0.1 * decades)
        (label,) = all_of(tree, "text", kind)
        assert f"{value:.2e}" in label.text
    (end,) = all_of(tree, "circle", "rv-end")
    assert to_logarithm(float(end.get("cy"))) == pytest.approx(np.log10(solution.relative_residual), abs=0.1 * decades)
    assert f"true residual {solution.relative_residual:.2e}" in said(tree)


def test_a_chart_says_what_it_is_to_who_does_not_see_it():
    solution = rv.cg(A, b, rtol=1e-8)
    tree = parsed(solution._repr_html_())
    (chart,) = all_of(tree, "svg")
    assert chart.get("role") == "img"
    title, told = list(chart)[:2]
    assert title.tag.endswith("title")
    assert "‖b − A x‖ / ‖b‖ by iteration" in title.text
    assert told.tag.endswith("desc")
    assert f"{solution.relative_residual_norms[-1]:.2e} at {solution.iterations}" in told.text
    assert "tolerance 1.00e-08" in told.text


def solutions():
    stack = np.stack([np.diag([1.0, 2.0]), np.full((2, 2), np.nan), np.diag([1.0, -1.0])])
    tall = np.random.default_rng(0).standard_normal((9, 5))
    return {
        "converged": lambda: rv.cg(A, b),
        "limit": lambda: rv.cg(A, b, maxiter=4),
        "broken": lambda: rv.cg(np.diag([1.0, -1.0]), np.ones(2)),
        "refused": lambda: rv.cg(stack, np.ones((3, 2)), errors="collect").systems[1],
        "refined": lambda: rv.refine(A, b),
        "fixed point": lambda: rv.fixed_point(np.cos, np.zeros(3)),
        "matrix function": lambda: rv.polar(tall),
        "batch": lambda: rv.cg(stack, np.ones((3, 2)), errors="collect"),
        "empty": lambda: rv.cg(np.zeros((0, 0)), np.zeros(0)),
        "no systems": lambda: rv.cg(np.zeros((2, 0, 0)), np.zeros((2, 0))),
        "zero": lambda: rv.cg(np.eye(3), np.zeros(3)),
    }


@pytest.mark.parametrize("name", solutions())
def test_text_terminal_and_notebook_tell_the_same(name):
    solution = solutions()[name]()
    facts = facts_of(solution)
    tree = parsed(solution._repr_html_())
    shown, text = said(tree), plain_of(solution, width=200)
    assert facts.said in shown
    assert facts.headline in text
    assert str(solution).startswith(facts.headline)
    told = facts.rows if facts.table is None else [*facts.rows, *((row[0], row[-1]) for row in facts.table.rows)]
    squeezed = " ".join(shown.split()).replace("‖", "||").replace("−", "-")
    for pair in told:
        for word in pair:
            assert " ".join(word.split()) in squeezed
            assert word in text
            assert word in str(solution)


def test_the_bars_of_a_batch_are_the_systems():
    B = np.random.default_rng(0).standard_normal((144, 9))
    B[:, 2] = A @ np.ones(144)
    full = rv.cg(A, B, rtol=1e-8)
    solution = rv.cg(A, B, rtol=1e-8, maxiter=int(full.iterations.max()) - 1)
    tree = parsed(solution._repr_html_())
    chart = all_of(tree, "svg")[0]
    heights = [float(e.get("y")) - 3.5 for e in all_of(chart, "text", "rv-y")]
    counts = [float(e.text) for e in all_of(chart, "text", "rv-y")]
    a_system = (heights[0] - heights[-1]) / (counts[-1] - counts[0])
    for kind, number in (
        ("rv-reached", solution.converged_each.sum()),
        ("rv-unfinished", (~solution.converged_each).sum()),
    ):
        assert number > 0
        bars = all_of(chart, "rect", kind)
        assert sum(float(bar.get("height")) for bar in bars) == pytest.approx(number * a_system, abs=0.1 * len(bars))
        (legend,) = [e for e in all_of(tree, "span", kind) if e.text[0] in "■□"]
        assert legend.tail.strip() == str(number)


def test_what_is_hostile_is_escaped_and_cut():
    solution = rv.cg(A, b)
    solution.method = "<script>alert('1')</script>&amp;\x00\ud800" + "W" * 100_000
    solution.reason = "</p><img src=x onerror='alert(1)'>[red]\x1b" + "x" * 100_000
    solution.words = rv.solvers.driver.problem.Words("</title><b>", "\"'&", "<i>products</i>")
    tree = parsed(solution._repr_html_())
    shown = said(tree)
    assert "<script>alert('1')</script>&amp;\ufffd\ufffdWWW" in shown
    assert "</p><img src=x onerror='alert(1)'>" in shown
    assert "more in solution.reason" in shown
    assert all_of(tree, "title")[0].text.startswith("relative residual  </title><b> / \"'&")
    assert "[red]" in plain_of(in_panel(Facts("said", reason="[red] is no markup")))


@pytest.mark.parametrize(
    ("norms", "drawn", "missing"),
    [
        ([], 0, ""),
        ([1.0], 0, ""),
        ([0.0, 0.0], 0, ""),
        ([np.nan, np.inf], 0, ""),
        ([1.0, np.nan, 0.5, np.inf, 1e-3, 0.0], 3, "not drawn: 3 that are zero or not finite"),
        ([1.0, 0.0, 0.5], 2, "not drawn: 1 that are zero"),
        ([1.0, np.nan, 0.5], 2, "not drawn: 1 that are not finite"),
        ([1.0, 1.0, 1.0], 3, ""),
        ([5e-324, 1.7e308], 2, ""),
    ],
)
def test_what_has_no_logarithm_is_counted_and_not_drawn(norms, drawn, missing):
    solution = rv.cg(np.eye(2), np.array([1.0, 0.0]))
    solution.history = (list(range(len(norms))), norms)
    solution.exponent = 0
    solution.relative_residual = norms[-1] if norms else np.nan
    tree = parsed(solution._repr_html_())
    plain_of(solution)
    assert len(all_of(tree, "svg")) == bool(drawn)
    if drawn:
        assert points_of(tree).shape == (2, drawn)
        assert np.isfinite(points_of(tree)).all()
        assert ("not drawn" in said(tree)) == bool(missing)
        assert missing in said(tree)


def test_a_million_iterations_stay_small_and_keep_their_extremes():
    solution = rv.cg(np.eye(2), np.array([1.0, 0.0]))
    n = 10**6
    norms = 10.0 ** (-8 * np.arange(n) / n)
    norms[345_678], norms[777_777] = 1e3, 1e-12
    solution.history, solution.exponent = (np.arange(n), norms), 0
    solution.iterations, solution.relative_residual, solution.tolerance = n - 1, norms[-1], 1e-9
    tree = parsed(solution._repr_html_())
    x, y = points_of(tree)
    assert x.size <= 400
    to_iteration, to_logarithm, decades = axis(tree)
    peak, dip = y.argmin(), y.argmax()
    assert to_logarithm(y[peak]) == pytest.approx(3, abs=0.1 * decades)
    assert to_logarithm(y[dip]) == pytest.approx(-12, abs=0.1 * decades)
    pixel = to_iteration(1.0) - to_iteration(0.0)
    assert to_iteration(x[peak]) == pytest.approx(345_678, abs=0.1 * pixel)
    assert to_iteration(x[dip]) == pytest.approx(777_777, abs=0.1 * pixel)
    assert (np.diff(x) >= 0).all()


@pytest.mark.parametrize(
    "values", [[1, 1], [0, 0], [-1e300, 1e300], [1, 1 + 1e-15], [0, 5e-324], [-2, 3, 7], [1e-8, 3e-8]]
)
def test_linear_axes_hold_any_numbers(values):
    curve = Curve("c", "c", np.arange(1, len(values) + 1), np.array(values, float), "system", "omega")
    tree = ElementTree.fromstring(svg(curve))
    _, y = points_of(tree)
    assert ((y >= 0) & (y <= 200)).all()
    heights = [float(e.get("y")) for e in all_of(tree, "text", "rv-y")]
    assert len(heights) >= 2
    assert all(high > low for high, low in itertools.pairwise(heights))


def test_labels_of_levels_near_each_other_stand_apart():
    y = np.array([1.0, 1e-8])
    levels = (Level(1e-9, "one", "tolerance", 16), Level(1.1e-9, "other", "attainable", 4))
    tree = ElementTree.fromstring(svg(Curve("c", "c", np.arange(2), y, "x", "y", True, levels)))
    first, second = all_of(tree, "text", "rv-on")
    assert first.get("text-anchor") is None
    assert second.get("text-anchor") == "end"


def luminance(colour):
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# The papers of this style, and those of JupyterLab and VS Code.
@pytest.mark.parametrize(
    ("shades", "papers"), [(LIGHT, ["#ffffff"]), (DARK, [DARK["paper"], "#111111", "#1e1e1e", "#1f1f1f"])]
)
def test_words_can_be_read_in_either_theme(shades, papers):
    for name in shades.keys() - {"paper", "grid"}:
        for paper in papers:
            assert contrast(shades[name], paper) >= 4.5, name


def test_the_style_touches_nothing_else_and_follows_the_theme():
    style = re.sub(r"@media \(prefers-color-scheme:dark\)\{(.*)\}$", r"\1", STYLE, flags=re.MULTILINE)
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", style)
    assert len(rules) > 20
    for rule in rules:
        for selector in re.sub(r":is\([^)]*\)", "", rule).split(","):
            assert selector.strip().startswith(".rv-facts")
    for theme in ("prefers-color-scheme:dark", "--jp-", "--vscode-", 'data-jp-theme-light="false"', ".vscode-dark"):
        assert theme in STYLE
    assert STYLE.count(DARK["reached"]) == 2
    assert STYLE.count(LIGHT["reached"]) == 2


def test_an_outcome_has_a_sign_and_a_colour():
    for outcome, colour in ((Outcome.REACHED, "32"), (Outcome.UNFINISHED, "33"), (Outcome.FAILED, "31")):
        facts = Facts("said", "how", outcome)
        tree = parsed(in_html(facts))
        assert all_of(tree, "span", f"rv-{outcome.name.lower()}")[0].text == f"{outcome.value} said"
        assert re.search(rf"\x1b\[1;{colour}m[^\x1b]*{outcome.value} said", in_colour(in_panel(facts)))
        assert in_text(facts) == f"{outcome.value} said: how"


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_panel_fits_the_terminal(width):
    solution = rv.cg(A, b)
    solution.method = "W" * 300
    assert max(map(len, plain_of(solution, width).splitlines())) <= width


def test_neither_matplotlib_nor_ipython_is_needed():
    code = (
        "import sys; sys.modules.update({'matplotlib': None, 'IPython': None, 'ipywidgets': None})\n"
        "import numpy as np, resolvent as rv\n"
        "before = 'rich' in sys.modules\n"
        "html = rv.cg(np.diag([1.0, 2.0]), np.ones(2), backend='numpy')._repr_html_()\n"
        "print(before, 'rich' in sys.modules, '<polyline' in html)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


# The live line.


class Output:
    """What a notebook keeps of a display."""

    def __init__(self, shown):
        self.shown = [shown]

    def update(self, shown, raw=False):
        self.shown.append(shown)


def in_notebook(monkeypatch):
    """Rich believes to be in a notebook, whose displays are returned; there is no ipywidgets."""
    outputs = []

    def display(shown, display_id):
        assert display_id
        outputs.append(Output(drawn(shown)))
        kept = outputs[-1].update
        outputs[-1].update = lambda shown, raw=False: kept(shown if raw else drawn(shown))
        return outputs[-1]

    def drawn(shown):
        return shown._repr_mimebundle_([], [])

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    return outputs


def test_the_live_line_is_drawn_in_a_notebook_and_removed(monkeypatch, capsys):
    outputs = in_notebook(monkeypatch)
    ticks = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = rv.cg(A, b, rtol=1e-8, progress=True, callback=lambda at: False)
    (output,) = outputs
    assert "before the first iteration" in output.shown[0]["text/plain"]
    assert len(output.shown) == solution.iterations + 2
    assert f"{solution.iterations} iterations" in output.shown[-2]["text/html"]
    assert output.shown[-1] == {"text/plain": ""}
    assert capsys.readouterr() == ("", "")


def test_the_live_line_of_a_solve_that_fails_is_removed(monkeypatch):
    outputs = in_notebook(monkeypatch)

    def broken(at):
        raise RuntimeError("of the caller's own")

    with pytest.raises(RuntimeError):
        rv.cg(A, b, progress=True, callback=broken)
    assert outputs[0].shown[-1] == {"text/plain": ""}


def test_where_nobody_watches_nothing_is_drawn(capsys):
    rv.cg(A, b, progress=True)
    assert capsys.readouterr() == ("", "")
