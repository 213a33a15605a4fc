"""The Gram form against the standard one, and its stability against a published study."""

import numpy as np
import pytest
from matrices import log_spectrum, off, with_singular_values

import resolvent as rv
from resolvent.solvers.matrix_functions.gram import GramNewtonSchulz, gram_stability, restarts_for

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749493, 0.4188073119525673),
)


def test_stability_of_polar_express():
    """With safety 1.05: without a restart 2.7e12, with one after two steps 84.6, and no eigenvalue below -0.395."""
    safe = tuple(tuple(c / 1.05 ** (2 * k + 1) for k, c in enumerate(step)) for step in POLAR_EXPRESS)
    schedule = rv.newton_schulz.Schedule(safe, 1e-3)
    np.testing.assert_allclose(gram_stability(schedule).condition, 2.7e12, rtol=0.1)
    found = gram_stability(schedule, restarts=(2,))
    np.testing.assert_allclose(found.condition, 84.6, rtol=0.1)
    np.testing.assert_allclose(found.lowest, -0.395, rtol=0.1)


def test_restarts_come_sooner_in_few_digits():
    schedule = rv.newton_schulz.Schedule(POLAR_EXPRESS, 1e-3)
    assert restarts_for(schedule, 2.0**-11)[0] == 2
    assert restarts_for(schedule, 2.0**-24) == ()


@pytest.mark.parametrize("shape", [(60, 15), (15, 60), (40, 40), (3, 48, 8)])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_it_is_the_standard_form(shape, dtype):
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype == np.complex128 else 0)
    gram, standard = (rv.polar(A, form=form, rtol=1e-9) for form in ("gram", "standard"))
    assert gram.converged
    assert gram.method == "gram_newton_schulz"
    np.testing.assert_allclose(gram.U, standard.U, atol=1e-8)
    np.testing.assert_allclose(gram.H, standard.H, atol=1e-7)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e9])
def test_condition_numbers(condition):
    A, U = with_singular_values(log_spectrum(12, condition), 60)
    found = rv.orthogonalize(A, rtol=1e-9)
    assert found.method == "gram_newton_schulz"
    assert found.converged
    assert off(found.x, U) <= 1e-8 + 1e-12 * condition


@pytest.mark.parametrize("condition", [10, 1e3])
def test_single_precision_reaches_its_default_tolerance(condition):
    """Without a restart the error of singular vectors would be 2e-4."""
    A, _ = with_singular_values(log_spectrum(64, condition), 512)
    assert rv.polar(A.astype(np.float32), form="gram").converged


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_with_restarts_in_few_digits(precision):
    A, U = with_singular_values(log_spectrum(16, 30), 80)
    found = rv.orthogonalize(A, form="gram", precision=precision, rtol=2e-2)
    assert found.converged
    assert off(found.x, U) <= 3e-2


def test_what_a_callback_sees_is_the_iterate():
    A, _ = with_singular_values(log_spectrum(8, 100), 40)
    kept = []
    rv.orthogonalize(A, callback=lambda told: kept.append(told.x), rtol=1e-9, form="gram")
    plain = []
    rv.orthogonalize(A, callback=lambda told: plain.append(told.x), rtol=1e-9, form="standard")
    for gram, standard in zip(kept, plain, strict=True):
        np.testing.assert_allclose(gram, standard, atol=1e-7)


def test_it_is_chosen_for_long_matrices_alone():
    rng = np.random.default_rng(0)
    methods = [rv.orthogonalize(rng.standard_normal(shape)).method for shape in ((8, 8), (16, 8), (8, 24))]
    assert methods == ["newton_schulz", "newton_schulz", GramNewtonSchulz.name]
    with pytest.raises(rv.InputError, match="form: found 'thin'"):
        rv.polar(np.eye(2), form="thin")
