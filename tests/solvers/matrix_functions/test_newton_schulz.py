"""rv.newton_schulz.schedule: published coefficients, bounds that hold, what each precision allows, and bad input."""

import decimal
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resolvent as rv
from resolvent.precision import formats
from resolvent.solvers.matrix_functions.presets import PRESETS

ns = rv.newton_schulz

# Minimax polynomials for [lower, 1], from a computation with 60 digits.
PUBLISHED = {
    (5, 1e-3): (
        (8.47032880384807, -25.1080747066619, 18.629275599118),
        (4.18283418329394, -3.10870110988924, 0.580606681350049),
        (3.9618572789616, -2.95406374635938, 0.562976117953896),
        (3.28658621702796, -2.46472013453128, 0.507357693861455),
        (2.27374999443404, -1.64466036790807, 0.416190927497886),
        (1.88871619735183, -1.2651572253386, 0.376518925557491),
    ),
    (5, 1e-1): (
        (5.60369450664, -13.88369022402, 9.73341262281),
        (2.130611565142, -1.511647532356, 0.4019837217922),
        (1.879156175748, -1.254610259965, 0.3754613243621),
        (1.875000025037, -1.250000027819, 0.3750000027819),
    ),
    (5, 1e-2): (
        (8.093368512548, -23.62043032882, 17.44615174984),
        (3.636585554259, -2.721926746609, 0.5365462883274),
        (2.661299985777, -1.977154521885, 0.4526164069964),
        (1.956171638884, -1.337507745944, 0.3838527013299),
        (1.875165562737, -1.250183946294, 0.3750183951057),
    ),
    (5, 1e-4): (
        (8.509885302586, -25.26430419083, 18.75356789974),
        (4.249573478923, -3.154976488114, 0.5858847824913),
        (4.225122190778, -3.138044435085, 0.5839534551299),
        (4.124838686994, -3.068332452806, 0.5760029536457),
        (3.758010335803, -2.809273892403, 0.5464842065877),
    ),
    (3, 1e-3): (
        (5.18010214336159, -5.17492204639315),
        (2.58402790400231, -0.647680154136151),
        (2.56205906603607, -0.644801354420086),
        (2.50762074587342, -0.637651108855162),
        (2.38207951869875, -0.621068198201855),
        (2.13749935057111, -0.588356427382313),
        (1.80305161687315, -0.542631611665828),
        (1.56240623526147, -0.508885393316324),
    ),
    (3, 1e-2): (
        (5.039839273821, -4.989445870529),
        (2.467161049681, -0.6323212275719),
        (2.296801022345, -0.6097256048916),
        (2.001961091596, -0.569975138434),
        (1.680122898819, -0.5254910622565),
    ),
}

# NoahAmsel/PolarExpress with its defaults, safety 1.01 and cushion 0.02: the first five steps of a longer list.
WITH_SAFETY = (
    (8.237312490495558, -23.15774741455821, 16.68056841144592),
    (4.082441999064829, -2.8930477353325825, 0.525284925697564),
    (3.926347992254658, -2.854746803476532, 0.5318022422894996),
    (3.2982187133085143, -2.424541981026707, 0.48632008358844103),
    (2.297036943455258, -1.636625581259032, 0.4002628455953631),
)


@pytest.mark.parametrize(("degree", "lower"), PUBLISHED)
def test_coefficients_are_those_published(degree, lower):
    wanted = PUBLISHED[degree, lower]
    for pure in ({}, {"cushion": 0, "safety": 1}):
        found = ns.schedule(lower, degree=degree, steps=len(wanted), **pure).coefficients
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_cushioned_coefficients_are_those_published():
    """Two lists of the authors of Polar Express, and one that others use, each by its cushion and safety."""
    found = ns.schedule(1e-3, degree=5, steps=8, cushion=0.02407327424182761, safety=1)
    np.testing.assert_allclose(found.coefficients, PRESETS["polar-express-8"].coefficients, rtol=1e-10)
    found = ns.schedule(1e-3, degree=5, steps=5, cushion=0.02, safety=1.02)
    np.testing.assert_allclose(found.coefficients, PRESETS["polar-express"].coefficients, rtol=1e-10)
    found = ns.schedule(1e-3, degree=5, steps=6, cushion=0.02, safety=1.01)
    np.testing.assert_allclose(found.coefficients[:5], WITH_SAFETY, rtol=1e-10)


def test_coefficients_for_roots_are_those_published():
    """Su's for eigenvalues from 1e-4 on, cushion 0.1, to the six digits that he gives."""
    found = ns.schedule(1e-4 ** (1 / 3), degree=5, steps=4, cushion=0.1, safety=1, root=3)
    wanted = (
        (5.05052, -13.5427, 10.2579),
        (2.31728, -1.06581, 0.144441),
        (1.79293, -0.913562, 0.186699),
        (1.56683, -0.786609, 0.220008),
    )
    np.testing.assert_allclose(found.coefficients, wanted, rtol=5e-6)


def test_root_two_has_the_polynomials_of_root_one():
    one, two = (ns.schedule(1e-2, degree=5, steps=4, root=root) for root in (1, 2))
    assert one.coefficients == two.coefficients
    assert (one.products, two.products) == (12, 16)


@pytest.mark.parametrize(
    ("products", "error", "degrees"),
    [
        (10, 0.6755, (17, 17)),
        (12, 0.3832, (3, 17, 17)),
        (13, 0.2240, (5, 17, 17)),
        (14, 0.0833, (9, 17, 17)),
        (15, 0.01396, (17, 17, 17)),
        (16, 0.00368, (3, 9, 17, 17)),
    ],
)
def test_best_mix_for_a_budget(products, error, degrees):
    found = ns.schedule(1e-3, products=products)
    assert found.products == products
    assert found.degrees == degrees
    assert found.error_bound <= error + 0.5 * 10 ** (np.floor(np.log10(error)) - 3)


HIGHEST = {"fp8_e4m3": 3, "bf16": 5, "fp16": 9, "tf32": 9, "fp32": 17, "fp64": 17}


@settings(max_examples=30, deadline=None)
@given(
    exponent=st.floats(-12, 0),
    upper=st.floats(0.1, 10),
    degree=st.sampled_from([3, 5, 7, 9, 17, "best"]),
    tolerance=st.floats(1e-9, 0.9),
    precision=st.sampled_from(["bf16", "fp16", "tf32", "fp32", "fp64"]),
)
def test_the_composite_keeps_its_bound(exponent, upper, degree, tolerance, precision):
    lower = upper * 10.0**exponent
    tolerance = max(tolerance, 5 * formats.FORMATS[precision].unit_roundoff)
    if degree != "best" and degree > HIGHEST[precision]:
        degree = HIGHEST[precision]
    found = ns.schedule(lower, upper, degree=degree, tolerance=tolerance, precision=precision)
    assert found.error_bound <= tolerance
    x = np.union1d(np.geomspace(lower, upper, 3000), np.linspace(lower, upper, 3000)).clip(lower, upper)
    # In double precision a composite of high degree has rounding errors of its own, of 1e-10 at most.
    assert np.abs(1 - found(x)).max() <= found.error_bound + 1e-8
    assert found(np.geomspace(1e-30 * lower, lower, 300)).min() > 0


def test_the_bound_is_attained():
    found = ns.schedule(1e-3, products=15)
    assert found(1e-3) == pytest.approx(1 - found.error_bound, abs=1e-8)
    assert found.interval(0) == (1e-3, 1.0)
    assert found.interval(3) == pytest.approx((1 - found.error_bound, 1 + found.error_bound), abs=1e-8)
    assert all(found.interval(t)[0] < found.interval(t + 1)[0] for t in range(3))


@pytest.mark.parametrize("degree", [3, 5, 9, 17])
def test_more_steps_and_shorter_intervals_are_closer_to_one(degree):
    by_steps = [ns.schedule(1e-3, degree=degree, steps=steps).error_bound for steps in range(1, 4)]
    assert by_steps == sorted(by_steps, reverse=True)
    by_lower = [ns.schedule(lower, degree=degree, steps=2).error_bound for lower in (1e-12, 1e-6, 1e-3, 0.1, 0.9, 1.0)]
    # Where coefficients are rounded, differences are too.
    assert all(longer >= shorter - 1e-14 for longer, shorter in itertools.pairwise(by_lower))


@pytest.mark.parametrize("degree", [3, 5, 7, 9, 17])
def test_steps_beyond_convergence_do_no_harm(degree):
    """On intervals of a few roundings the polynomials are Taylor's, whose leading terms there underflow."""
    assert ns.schedule(0.3, degree=degree, steps=20).error_bound < 1e-14
    assert ns.schedule(0.3, degree=degree, steps=20, root=7).error_bound < 1e-14


def test_one_point_takes_the_taylor_polynomial():
    assert ns.schedule(1.0, degree=5, steps=1, safety=1).coefficients == ((1.875, -1.25, 0.375),)
    assert ns.schedule(0.25, 0.25, degree=3, steps=1, safety=1)(0.25) == 1


def test_the_interval_scales():
    one, two = ns.schedule(1e-3, products=12, safety=1), ns.schedule(1e-3 * 8, 8.0, products=12, safety=1)
    x = np.geomspace(1e-3, 1, 50)
    np.testing.assert_allclose(one(x), two(8 * x), rtol=1e-9)


@pytest.mark.parametrize("root", [1, 3, 4])
def test_fewest_products_for_a_tolerance(root):
    found = ns.schedule(0.05, tolerance=1e-5, root=root)
    assert found.error_bound <= 1e-5
    assert ns.schedule(0.05, products=found.products - 1, root=root).error_bound > 1e-5


def test_a_budget_is_not_spent_beyond_the_precision():
    found = ns.schedule(1e-2, products=60, precision="fp32")
    assert found.products < 25
    assert found.error_bound <= formats.fp32.unit_roundoff


@pytest.mark.parametrize(("precision", "highest"), HIGHEST.items())
def test_highest_degree_of_a_precision(precision, highest):
    assert ns.schedule(1e-3, steps=2, precision=precision).degrees == (highest, highest)
    assert max(ns.schedule(1e-3, products=20, precision=precision).degrees) <= highest
    for degree in (3, 5, 9, 17):
        if degree <= highest:
            assert ns.schedule(1e-3, degree=degree, steps=1, precision=precision).degrees == (degree,)
        else:
            with pytest.raises(rv.InputError, match=f"degree: found {degree} with precision {precision}"):
                ns.schedule(1e-3, degree=degree, steps=1, precision=precision)


def test_half_precisions_have_cushion_and_safety_unless_told_otherwise():
    found = {name: ns.schedule(1e-3, degree=5, steps=5, precision=name) for name in ("bf16", "fp16", "fp32", "fp64")}
    assert found["bf16"].cushion == pytest.approx(0.028, abs=0.002)
    assert found["fp16"].cushion == pytest.approx(0.003, abs=0.0005)
    assert found["bf16"].safety == found["fp16"].safety == pytest.approx(1.01)
    assert found["fp32"].cushion == found["fp64"].cushion == 0
    assert 1 < found["fp64"].safety < 1 + 1e-13 < found["fp32"].safety < 1 + 1e-5
    told = ns.schedule(1e-3, degree=5, steps=5, precision="bf16", cushion=0.1, safety=1.05)
    assert (told.cushion, told.safety) == (0.1, 1.05)


def test_formats_may_be_given():
    assert ns.schedule(1e-3, steps=2, precision=formats.bf16) == ns.schedule(1e-3, steps=2, precision="bfloat16")


def test_the_callers_decimal_context_changes_nothing():
    with decimal.localcontext(prec=4) as context:
        context.traps[decimal.Inexact] = True
        found = ns.schedule(0.0123, products=9, precision="tf32")
        again = ns.schedule(0.0124, products=9, precision="tf32")
        text = str(again)
    assert found.error_bound == pytest.approx(again.error_bound, rel=0.05)
    assert text == str(again)
    assert again.degrees == ns.schedule(0.0125, products=9, precision="tf32").degrees


def test_schedules_are_made_once():
    assert ns.schedule(1e-3, products=14) is ns.schedule(0.001, 1, products=14, precision="fp64")


REFUSED = {
    "zero": ({"lower": 0.0, "steps": 3}, "lower: found 0; wanted a number from above 0 to upper, 1"),
    "negative": ({"lower": -0.1, "steps": 3}, "lower: found -0.1;"),
    "above one": ({"lower": 1.5, "steps": 3}, "lower: found 1.5;"),
    "not a number": ({"lower": float("nan"), "steps": 3}, "lower: found NaN"),
    "upper below": (
        {"lower": 0.5, "upper": 0.2, "steps": 3},
        "lower: found 0.5; wanted a number from above 0 to upper, 0.2",
    ),
    "upper infinite": ({"lower": 0.5, "upper": float("inf"), "steps": 3}, "upper: found inf"),
    "upper far": ({"lower": 0.5, "upper": 1e30, "steps": 3}, r"upper: found 1e\+30; wanted a number nearer to one"),
    "upper NaN": ({"lower": 0.5, "upper": float("nan"), "steps": 3}, "upper: found NaN"),
    "degree": ({"lower": 0.1, "degree": 15, "steps": 3}, r"degree: found 15 \(did you mean 17\?\)"),
    "degree word": (
        {"lower": 0.1, "degree": "bst", "steps": 3},
        "degree: found 'bst'; wanted \"best\" or",
    ),
    "none": ({"lower": 0.1}, "steps, tolerance, products: found none of them; wanted exactly one"),
    "two": ({"lower": 0.1, "steps": 3, "products": 9}, "found steps and products; wanted exactly one"),
    "three": ({"lower": 0.1, "steps": 3, "products": 9, "tolerance": 0.1}, "found steps and tolerance and products"),
    "no steps": ({"lower": 0.1, "steps": 0}, "steps: found 0; wanted 1 to 1000"),
    "few products": ({"lower": 0.1, "degree": 17, "products": 4}, "products: found 4; wanted at least 5"),
    "one product": ({"lower": 0.1, "products": 1}, "products: found 1; wanted at least 2"),
    "tolerance": ({"lower": 0.1, "tolerance": 1.5}, "tolerance: found 1.5; wanted a number between 0 and 1"),
    "fine": ({"lower": 0.1, "tolerance": 1e-4, "precision": "bf16"}, "tolerance: found 0.0001, which bf16 cannot hold"),
    "finer": ({"lower": 0.1, "tolerance": 1e-17}, "tolerance: found 1e-17, which fp64 cannot hold"),
    "cushion": ({"lower": 0.1, "steps": 3, "cushion": 1.0}, "cushion: found 1; wanted a number from 0 to below 1"),
    "safety": ({"lower": 0.1, "steps": 3, "safety": 0.9}, "safety: found 0.9; wanted a number from 1 to below 2"),
    "no safety": (
        {"lower": 0.1, "steps": 3, "safety": 1.0, "precision": "bf16"},
        "found 1 with precision bf16",
    ),
    "root": ({"lower": 0.1, "steps": 3, "root": 0}, "root: found 0; wanted 1 to 100"),
    "precision": ({"lower": 0.1, "steps": 3, "precision": "fp61"}, r"precision: found 'fp61'; .*did you mean 'fp6"),
    "blocks": (
        {"lower": 0.1, "steps": 3, "precision": "mxfp4"},
        "precision: found mxfp4; wanted a floating",
    ),
    "four bits": ({"lower": 0.1, "steps": 3, "precision": "fp4_e2m1"}, "degree: found 3 with precision fp4_e2m1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_words(case):
    arguments, words = REFUSED[case]
    with pytest.raises(rv.InputError, match=words):
        ns.schedule(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"lower": "low", "steps": 3},
        {"lower": None, "steps": 3},
        {"lower": 0.1, "steps": 2.5},
        {"lower": 0.1, "steps": True},
        {"lower": 0.1, "degree": 3.0, "steps": 1},
        {"lower": 0.1, "steps": 1, "precision": 16},
        {"lower": 0.1, "steps": 1, "root": "two"},
    ],
    ids=str,
)
def test_wrong_types_are_refused_in_words(arguments):
    with pytest.raises(TypeError, match=r": found .*; wanted"):
        ns.schedule(**arguments)
