"""What every tuner does alike: refuses bad input in words, and goes on from a state as if nothing had happened."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.tuning import (
    AdaptiveSOR,
    Auto,
    ChebCB,
    Choice,
    Evidence,
    Fixed,
    GaussianThompson,
    Look,
    Spectral,
    TsallisINF,
    TsallisINFBinned,
)
from resolvent.solvers.tuning.closed_forms import SORForm

MADE = {
    "Fixed": lambda seed: Fixed(1.4),
    "TsallisINF": lambda seed: TsallisINF(seed=seed),
    "TsallisINF reduced": lambda seed: TsallisINF(variance_reduced=True, seed=seed),
    "TsallisINFBinned": lambda seed: TsallisINFBinned((-0.2, 0.5), bins=3, seed=seed),
    "ChebCB": lambda seed: ChebCB((-0.2, 0.5), seed=seed),
    "GaussianThompson": lambda seed: GaussianThompson(seed=seed),
    "GaussianThompson memory": lambda seed: GaussianThompson(memory=50, smoothness=0, seed=seed),
    "Spectral": lambda seed: Spectral("sor"),
    "Spectral shift": lambda seed: Spectral("sor", family="shift"),
    "AdaptiveSOR": lambda seed: AdaptiveSOR(),
    "Auto": lambda seed: Auto(method="sor", seed=seed),
    "Auto bandit": lambda seed: Auto(seed=seed),
    "Choice": lambda seed: Choice({"cg": None, "sor": TsallisINF(seed=seed)}, seed=seed),
}


def play(tuner, rounds, rng):
    """The values chosen on shifted Laplacians as theory has them."""
    form, chosen = SORForm(), []
    for _ in range(rounds):
        shift = rng.uniform(-0.15, 0.45)
        radius = 0.9594929736 * 4 / (4 + shift)
        tuner.inspect(Look(2 / (4 + shift), 4 / (4 + shift) if shift > 0 else math.inf, 0.25))
        value = tuner.suggest(shift)
        omega = value if isinstance(value, float) else value.get("omega", 1.0)
        rate = form.rate(radius, omega)
        tuner.observe(18 / -np.log(rate) * rng.uniform(0.9, 1.1), Evidence(rate=rate))
        chosen.append(value)
    return chosen


@pytest.mark.parametrize("name", MADE)
def test_state_goes_on_as_if_nothing_had_happened(name):
    first = MADE[name](3)
    play(first, 150, np.random.default_rng(0))
    state = json.loads(json.dumps(first.state(), allow_nan=False))
    second = MADE[name](4)  # another seed: the state holds the generator
    second.load(state)
    assert second.state() == first.state()
    assert second.rounds == 150
    assert play(first, 80, np.random.default_rng(1)) == play(second, 80, np.random.default_rng(1))


@pytest.mark.parametrize("name", MADE)
def test_state_between_suggestion_and_cost(name):
    first = MADE[name](3)
    play(first, 20, np.random.default_rng(0))
    value = first.suggest(0.1)
    second = MADE[name](0)
    second.load(json.loads(json.dumps(first.state())))
    for tuner in (first, second):
        tuner.observe(40.0, Evidence(rate=0.6))
    assert first.suggest(0.2) == second.suggest(0.2)
    assert value is not None


@pytest.mark.parametrize("name", MADE)
def test_same_seed_same_choices(name):
    assert play(MADE[name](7), 60, np.random.default_rng(2)) == play(MADE[name](7), 60, np.random.default_rng(2))


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("cost", [-1.0, np.nan, np.inf, "many", None, 1j])
def test_impossible_cost_is_named(name, cost):
    tuner = MADE[name](0)
    tuner.suggest(0.1)
    with pytest.raises(rv.InputError, match=r"cost: found .*; wanted a finite number of at least 0"):
        tuner.observe(cost)


@pytest.mark.parametrize("name", MADE)
def test_cost_without_a_suggestion(name):
    tuner = MADE[name](0)
    with pytest.raises(rv.InputError, match="nothing was suggested"):
        tuner.observe(3.0)
    tuner.suggest(0.0)
    tuner.observe(3.0)
    with pytest.raises(rv.InputError, match="nothing was suggested"):
        tuner.observe(3.0)


@pytest.mark.parametrize("name", MADE)
def test_a_cost_is_that_of_the_value_suggested_to_the_same_thread(name):
    tuner = MADE[name](0)
    with ThreadPoolExecutor(1) as other:
        tuner.suggest(0.1)
        other.submit(tuner.suggest, 0.2).result()
        with pytest.raises(rv.BusyError, match="was suggested to another thread"):
            tuner.observe(30.0)
        assert tuner.rounds == 0
        other.submit(tuner.observe, 40.0).result()
        assert tuner.spent == 40
        # In turn, it may go from thread to thread.
        for k in range(40):
            if k % 3:
                other.submit(lambda: (tuner.suggest(0.1), tuner.observe(30.0))).result()
            else:
                tuner.suggest(0.1)
                tuner.observe(31.0)
    assert tuner.rounds == 41


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("context", [np.nan, np.inf, "warm", [1.0], True])
def test_impossible_context_is_named(name, context):
    with pytest.raises(rv.InputError, match="context: found"):
        MADE[name](0).suggest(context)


@pytest.mark.parametrize("name", MADE)
def test_state_of_another_kind_is_refused(name):
    tuner = MADE[name](0)
    other = TsallisINF([1.0, 1.1]) if not isinstance(tuner, TsallisINF) else Fixed(1.4)
    with pytest.raises(rv.InputError, match="state: is that of a"):
        tuner.load(other.state())
    with pytest.raises(rv.InputError, match="state: found list"):
        tuner.load([])
    with pytest.raises(rv.InputError, match="state: has no memory, method, parameter"):
        tuner.load({"kind": tuner.kind, "settings": {}})


def test_state_of_another_parameter_method_or_grid_is_refused():
    values = [1.0, 1.5]
    with pytest.raises(rv.InputError, match="state: is about depth; this tuner chooses omega"):
        TsallisINF(values).load(TsallisINF(values, parameter="depth").state())
    with pytest.raises(rv.InputError, match=r"state: was taken with values = \[1.0, 1.5\]; this tuner has"):
        TsallisINF([1.0, 1.6]).load(TsallisINF(values).state())
    one, other = TsallisINF(values), TsallisINF(values)
    one.bind("sor")
    other.bind("ssor")
    with pytest.raises(rv.InputError, match="state: was learnt with ssor; this tuner serves sor"):
        one.load(other.state())
    with pytest.raises(rv.InputError, match="what this TsallisINF tuner knows is about sor, but the method is ssor"):
        one.bind("ssor")
    with pytest.raises(rv.InputError, match="form = 'sor'; this tuner has form = 'ssor'"):
        Spectral("ssor").load(Spectral("sor").state())


@pytest.mark.parametrize("omega", [0.0, 2.0, -1.0, 2.5])
@pytest.mark.parametrize("method", ["sor", "ssor", "ssor_cg"])
@pytest.mark.parametrize(
    "make",
    [
        lambda omega: TsallisINF([1.0, omega]),
        lambda omega: TsallisINFBinned((0, 1), [1.0, omega]),
        lambda omega: ChebCB((0, 1), [omega]),
        lambda omega: GaussianThompson([{"omega": omega, "order": "natural"}], parameter="all"),
        lambda omega: Auto([1.0, omega]),
        Fixed,
    ],
)
def test_omega_that_diverges_is_refused_with_the_reason(make, method, omega):
    with pytest.raises(rv.InputError, match=r"omega: found .*\(0, 2\).*Kahan 1958"):
        rv.Sequence(method, tuner=make(omega))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdaptiveSOR(2.0),
        lambda: Auto([2.0], method="sor"),
        lambda: GaussianThompson([{"method": "sor", "omega": 2.0}], parameter="method"),
        lambda: rv.Sequence(["sor", "cg"], tuner=Choice({"sor": Fixed(2.0), "cg": None})),
        lambda: rv.Sequence("sor", omega=2.0),
        lambda: rv.sor(np.eye(2), np.ones(2), omega=2.0),
    ],
)
def test_omega_that_diverges_is_refused_wherever_it_is_given(make):
    with pytest.raises(rv.InputError, match=r"omega: found 2.0.*\(0, 2\).*Kahan 1958"):
        make()


def test_other_methods_may_have_an_omega_of_any_size():
    problem = rv.gallery.poisson((6, 6))
    tuner = TsallisINF([10.0, 20.0], seed=0)
    sequence = rv.Sequence("richardson", tuner=tuner, rtol=1e-4, warm_start=None)
    for _ in range(40):
        assert sequence.solve(problem.A / 100, problem.b).converged
    assert tuner.probabilities.argmax() == 1


@pytest.mark.parametrize("values", [[], "omega", 3, {"a": 1}, [np.nan], [object()], [[1, np.inf]]])
def test_bad_values_are_named(values):
    with pytest.raises(rv.InputError, match="values: found"):
        TsallisINF(values, parameter="depth")


def test_other_bad_arguments_are_named():
    for make, said in (
        (lambda: TsallisINF(parameter="depth"), "values: wanted the values of depth"),
        (lambda: TsallisINF(parameter=""), "parameter: found ''"),
        (lambda: TsallisINF(seed=-1), "seed: found -1"),
        (lambda: TsallisINF(seed=1.5), "seed: found 1.5"),
        (lambda: TsallisINFBinned((0, 1), bins=0), "bins: found 0"),
        (lambda: GaussianThompson(smoothness=-1), "smoothness: found -1"),
        (lambda: GaussianThompson(memory=0), "memory: found 0"),
        (lambda: Spectral("cg"), "method: found 'cg'; the spectrum gives"),
        (lambda: Spectral("sor", family="twins"), "family: found 'twins'"),
        (lambda: Spectral("sor", diagonal=0), "diagonal: found 0"),
        (lambda: Spectral("sor", family="shift").suggest(), 'family "shift" needs a number'),
        (lambda: Spectral().suggest(), "Spectral must be told"),
        (lambda: Choice({}), "methods: found {}"),
        (lambda: Choice({"cg": 3}), "methods: found 3 for cg"),
        (lambda: AdaptiveSOR("1"), "start: found '1'"),
        (lambda: AdaptiveSOR().bind("cg"), "AdaptiveSOR adapts the omega of sor, not of cg"),
    ):
        with pytest.raises(rv.InputError) as caught:
            make()
        assert said in str(caught.value)


def test_generators_do_not_share_the_users_numbers():
    # Systems drawn from default_rng(seed), a tuner made with the same seed.
    ours = TsallisINF(seed=5).rng.random(4)
    assert not np.isin(ours, np.random.default_rng(5).random(100)).any()
    assert not np.isin(ours, GaussianThompson(seed=5).rng.random(100)).any()


def test_values_may_be_numpy_numbers_and_dicts():
    tuner = TsallisINF(np.linspace(1, 1.9, 4))
    assert all(type(value) is float for value in tuner.values)
    assert TsallisINF([(1, np.float32(2)), np.arange(2)], parameter="interval").values == [[1, 2.0], [0, 1]]
    values = [{"method": "cg"}, {"method": "sor", "omega": 1.5}]
    assert GaussianThompson(values, parameter="method").suggest() in values
