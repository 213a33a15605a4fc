"""Published schedules: what they do to singular values, as measured by those who publish them, and their traps."""

import numpy as np
import pytest
from matrices import hermitian, with_singular_values

import resolvent as rv
from resolvent.solvers.matrix_functions.presets import PRESETS

ns = rv.newton_schulz
SAFE = [name for name, known in PRESETS.items() if not known.flips_signs]

# The range of the composite on [lower, 1], to the digits published.
RANGES = {
    ("classical", 0.1): (0.659, 1.0),
    ("taylor", 0.01): (0.228, 1.0),
    ("modula", 0.1): (0.990, 1.018),
    ("modula", 1e-3): (0.241, 1.21),
    ("muon", 0.01): (0.682, 1.134),
    ("muon", 1e-3): (0.471, 1.202),
    ("su", 0.01): (0.821, 1.183),
    ("you", 0.1): (0.978, 1.032),
    ("you", 1e-3): (0.475, 1.145),
    ("you6", 0.01): (0.996, 0.999),
    ("polar-express", 1e-3): (0.859, 1.141),
    ("cans", 0.01): (0.702, 1.298),
    ("cubic5", 0.01): (0.774, 1.300),
    ("deepseek", 1e-4): (1.000, 1.002),
    ("turbo-genetic", 0.1): (0.941, 1.05),
}


@pytest.mark.parametrize(("name", "lower"), RANGES)
def test_range_of_the_composite(name, lower):
    found = ns.preset(name, lower=lower)
    assert found.interval(found.steps) == pytest.approx(
        RANGES[name, lower], abs=6e-3 if name == "turbo-genetic" else 6e-4
    )


@pytest.mark.parametrize("name", SAFE)
def test_signs_are_kept(name):
    x = np.union1d(np.geomspace(1e-9, 1, 20_000), np.linspace(1e-9, 1, 20_000))
    assert ns.preset(name)(x).min() > 0


def test_the_preset_that_flips_signs_must_be_asked_for():
    with pytest.raises(rv.InputError, match=r"wrong sign for values above 0\.88.*allow_sign_flip=True"):
        ns.preset("aol")
    found = ns.preset("aol", allow_sign_flip=True)
    assert found(1.0) == pytest.approx(-0.9935, abs=1e-4)
    assert found(0.883) > 0 > found(0.8838)
    assert found.interval(4) == pytest.approx((-1.084, 1.084), abs=1e-3)
    assert found.error_bound == pytest.approx(2.084, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "slope"), [("muon", 485), ("you", 493), ("you6", 1138), ("cans", 347), ("cubic5", 119)]
)
def test_slope_at_zero(name, slope):
    assert ns.preset(name)(1e-12) / 1e-12 == pytest.approx(slope, rel=3e-3)


@pytest.mark.parametrize(
    ("name", "limit"), [("you6", 1.083), ("polar-express", 1.0218), ("cubic5", 1.183), ("muon", 1.264)]
)
def test_values_beyond_the_limit_diverge(name, limit):
    steps = PRESETS[name].tail and 12
    found = ns.preset(name, steps)
    assert abs(found(limit - 1e-3)) < 2
    assert not abs(found(limit + 2e-2)) < 3


def test_lengths():
    assert ns.preset("muon").steps == 5
    assert ns.preset("muon", 7).coefficients == (PRESETS["muon"].coefficients[0],) * 7
    assert ns.preset("polar-express", 3).coefficients == PRESETS["polar-express"].coefficients[:3]
    longer = ns.preset("polar-express", 8)
    assert longer.coefficients[5:] == ((1.875, -1.25, 0.375),) * 3
    assert longer.error_bound < 1e-9
    assert ns.preset("turbo").coefficients == ns.preset("you").coefficients[1:]
    with pytest.raises(rv.InputError, match="steps: found 6; wanted 1 to 5, for 'you' has no more"):
        ns.preset("you", 6)
    with pytest.raises(rv.InputError, match="steps: found 0; wanted 1 or more"):
        ns.preset("muon", 0)
    with pytest.raises(TypeError, match=r"steps: found 2\.5; wanted an integer"):
        ns.preset("muon", 2.5)


def test_names():
    assert set(ns.presets()) == set(PRESETS)
    with pytest.raises(rv.InputError, match=r"name: found 'Polar_Expres'; wanted .*did you mean 'polar-express'"):
        ns.preset("Polar_Expres")
    with pytest.raises(TypeError, match="name: found int"):
        ns.preset(3)
    with pytest.raises(rv.InputError, match="lower: found 0"):
        ns.preset("muon", lower=0)
    with pytest.raises(rv.InputError, match="lower: found nan"):
        ns.preset("muon", lower=float("nan"))


B = with_singular_values([1.0, 0.7, 0.3, 0.02], 6, seed=1)[0]
S = hermitian([1.0, 0.6, 0.3, 0.02])[0]
N = hermitian([1.0, -0.6, 0.3, -0.02], seed=1)[0]
NAMED = {
    "polar": lambda **how: rv.polar(B, **how).U,
    "orthogonalize": lambda **how: rv.orthogonalize(B.T, **how).x,
    "matrix_sign": lambda **how: rv.matrix_sign(N, **how).x,
    "sqrtm": lambda **how: rv.sqrtm(S, **how).x,
    "invsqrtm": lambda **how: rv.invsqrtm(S, **how).x,
    "inverse_root": lambda **how: rv.inverse_root(S, 2, **how).x,
    "solve_lyapunov": lambda **how: rv.solve_lyapunov(S, N, **how).x,
    "solve_sylvester": lambda **how: rv.solve_sylvester(S, 2 * S, N, **how).x,
}


@pytest.mark.parametrize("function", NAMED.values(), ids=NAMED)
def test_functions_take_names(function):
    for name in SAFE:
        assert np.allclose(function(schedule=name, rtol=1e-9), function(rtol=1e-9), rtol=0, atol=1e-6), name
    with pytest.raises(rv.InputError, match=r"^schedule: found 'polar_expres'; .*did you mean 'polar-express'"):
        function(schedule="polar_expres")
    with pytest.raises(rv.InputError, match=r"^schedule: found 'aol'\. .*preset\('aol', allow_sign_flip=True\)"):
        function(schedule="aol")
    with pytest.raises(TypeError, match=r"^schedule: found int; wanted"):
        function(schedule=5)


def test_what_flips_signs_is_had_when_asked_for():
    flipping = ns.preset("aol", allow_sign_flip=True)
    found = rv.orthogonalize(np.diag([1.0, 0.7]), schedule=flipping, scaling="schatten-4", rtol=1e-9).x
    assert np.allclose(found, np.diag([-1.0, 1.0]), atol=1e-8)


def test_names_are_of_schedules_for_square_roots_at_most():
    with pytest.raises(rv.InputError, match=r"^schedule: found one for root 1; wanted root=3"):
        rv.inverse_root(S, 3, schedule="muon")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is(name):
    known = PRESETS[name]
    assert known.source
    assert known.note.endswith(".")
    assert ns.preset(name, allow_sign_flip=True).name == name
