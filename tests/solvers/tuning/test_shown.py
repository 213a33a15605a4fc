"""Sequences and tuners as notebooks and rich terminals show them: iterations, costs and parameters by system."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import resolvent as rv
from resolvent.solvers.tuning import Choice, Fixed, TsallisINF


def parsed(shown):
    html = shown._repr_html_()
    assert len(html.encode()) < 30_000
    return ElementTree.fromstring(html)


def charts(tree):
    """By what is drawn: the heights of the points, and the ticks of the axis as pixels and numbers."""
    found = {}
    for svg in tree.iter("{http://www.w3.org/2000/svg}svg"):
        parts = list(svg)
        points = [e.get("points") for e in parts if e.get("class") == "rv-curve"]
        ys = [float(pair.split(",")[1]) for line in points for pair in line.split()]
        dots = [e.get("d") for e in parts if e.get("class") == "rv-dots"]
        ys += [float(dot.split()[1]) for line in dots for dot in line.removesuffix("h0").removeprefix("M").split("h0M")]
        ticks = [(float(e.get("y")) - 3.5, float(e.text)) for e in parts if e.get("class") == "rv-y"]
        (slope, start) = np.polyfit(*np.array(ticks).T, 1)
        found[parts[0].text.partition(" by ")[0]] = start + slope * np.array(ys), abs(slope)
    return found


def solved(sequence, systems=12):
    for problem in rv.gallery.heat_sequence(8, systems):
        sequence.solve(problem.A, problem.b)
    return sequence


def panel(shown):
    console = Console(file=io.StringIO(), width=100)
    console.print(shown)
    return console.file.getvalue()


def test_a_sequence_draws_what_each_system_took():
    sequence = solved(rv.Sequence("sor", tuner=TsallisINF(seed=0), rtol=1e-8, cost="work"))
    drawn = charts(parsed(sequence))
    history = sequence.history
    for name, values in (("iterations", history.iterations), ("work", history.costs), ("omega", history.numbers())):
        heights, a_unit = drawn[name]
        np.testing.assert_allclose(heights, values, atol=0.1 * a_unit)
    for text in (panel(sequence), sequence.report()):
        assert "12 systems" in text
        assert f"{sum(history.iterations)}" in text
        assert f"{history.numbers()[-1]:.4g} last" in text


def test_a_tuner_draws_what_it_chose_and_what_that_cost():
    tuner = TsallisINF(seed=0)
    sequence = solved(rv.Sequence("sor", tuner=tuner, rtol=1e-8))
    told = [(value, cost) for value, cost in zip(sequence.history.parameters, sequence.history.costs, strict=True)]
    assert list(tuner.recent) == told
    drawn = charts(parsed(tuner))
    for name, values in (("omega", [value for value, _ in told]), ("cost", [cost for _, cost in told])):
        heights, a_unit = drawn[name]
        np.testing.assert_allclose(heights, values, atol=0.1 * a_unit)
    assert f"{tuner.spent:.6g}, {tuner.spent / 12:.4g} a round" in panel(tuner)
    assert "12 rounds" in panel(tuner)


def test_methods_are_counted():
    sequence = solved(rv.Sequence(["jacobi", "cg"], tuner=Choice({"jacobi": None, "cg": None}), rtol=1e-4))
    methods = [value["method"] for value in sequence.history.parameters]
    for shown, things in ((sequence, "systems"), (sequence.tuner, "rounds")):
        text = " ".join("".join(parsed(shown).itertext()).split())
        for name in set(methods):
            assert f"{name} for {methods.count(name)} {things}" in text
            assert f"{name} for {methods.count(name)} {things}" in panel(shown)


@pytest.mark.parametrize("shown", [rv.Sequence("sor"), Fixed(1.5), rv.FixedPointSequence("picard")], ids=repr)
def test_before_the_first_system_there_is_nothing_to_draw(shown):
    tree = parsed(shown)
    assert "nothing" in "".join(tree.itertext())
    assert charts(tree) == {}
    assert "nothing" in panel(shown)


def test_many_rounds_stay_small():
    tuner = Fixed(1.5)
    costs = np.random.default_rng(0).uniform(10, 20, 5000)
    for cost in costs:
        tuner.suggest()
        tuner.observe(cost)
    assert [cost for _, cost in tuner.recent] == costs[-1000:].tolist()
    tree = parsed(tuner)
    heights, a_unit = charts(tree)["cost"]
    assert heights.max() == pytest.approx(costs[-1000:].max(), abs=0.1 * a_unit)
    text = " ".join("".join(tree.itertext()).split())
    assert "5000 rounds" in text
    assert "at round 4001" in text
    assert f"{costs.sum():.6g}" in text


def test_parameters_of_other_names_than_the_tuners_are_called_so():
    sequence = solved(rv.Sequence("sor", tuner=TsallisINF([{"omega": 1.2}, {"omega": 1.5}], parameter="s"), rtol=1e-4))
    assert {"iterations", "omega"} == set(charts(parsed(sequence)))


def test_a_state_that_was_loaded_begins_its_drawings_anew():
    first, second = Fixed(1.5), Fixed(1.5)
    for cost in (3.0, 4.0):
        first.suggest()
        first.observe(cost)
    second.load(first.state())
    assert "2 rounds" in panel(second)
    assert charts(parsed(second)) == {}
    second.suggest()
    second.observe(5.0)
    assert list(second.recent) == [(1.5, 5.0)]
    parsed(second)
