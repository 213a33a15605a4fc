"""Closed forms against each other and against eigenvalues; the radius found, moved along families, and followed."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigh

import resolvent as rv
from resolvent.gallery import heat_sequence, poisson, shifted_laplacians
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.spectra.ritz import extreme_eigenvalue
from resolvent.solvers.tuning import Auto, Choice, Evidence, Look, Spectral, look_at
from resolvent.solvers.tuning.closed_forms import SORForm, SSORForm


@given(st.floats(0.05, 0.9999), st.floats(0.01, 0.999))
def test_radius_comes_back_from_the_rate_of_sor(radius, part):
    form = SORForm()
    best = form.best(radius)
    omega = 1 + part * (best - 1)
    assert form.radius(form.rate(radius, omega), omega) == pytest.approx(radius, rel=1e-6)
    assert form.radius_of_best(best) == pytest.approx(radius, rel=1e-9)
    assert form.rate(radius, best) == pytest.approx(best - 1, abs=1e-6)
    assert form.rate(radius, best + 0.5 * (2 - best)) == pytest.approx(best + 0.5 * (2 - best) - 1)


# Of the five-point Poisson matrix on n x n points the Jacobi radius is cos(pi / (n + 1)), and Young's omega with it.
YOUNG = {1: 1.0, 2: 2 / (1 + math.sqrt(0.75)), 3: 2 / (1 + math.sqrt(0.5)), 5: 4 / 3}


def exact_rate(n, omega):
    """The rate of SOR on that matrix: the largest root of (z + omega - 1)^2 = z omega^2 radius^2, below the best."""
    with mpmath.workdps(40):
        b = (mpmath.mpf(omega) * mpmath.cos(mpmath.pi / (n + 1))) ** 2 - 2 * (mpmath.mpf(omega) - 1)
        return float((b + mpmath.sqrt(b**2 - 4 * (mpmath.mpf(omega) - 1) ** 2)) / 2)


@pytest.mark.parametrize("n", YOUNG)
def test_best_omega_is_youngs_to_the_last_digits(n):
    with mpmath.workdps(40):
        exact = float(2 / (1 + mpmath.sin(mpmath.pi / (n + 1))))  # 1 - cos^2 is sin^2
    assert exact == pytest.approx(YOUNG[n], rel=1e-14)
    form, radius = SORForm(), math.cos(math.pi / (n + 1))
    assert form.best(radius) == pytest.approx(exact, rel=1e-13)
    assert form.best(radius, 0.2) == pytest.approx(exact, rel=1e-13)
    assert form.radius_of_best(exact) == pytest.approx(radius, abs=1e-7)


@pytest.mark.parametrize("n", [10, 100])
@pytest.mark.parametrize("omega", [1.0, 1.2, 1.4])
def test_rate_and_radius_of_sor_are_exact(n, omega):
    form, radius, rate = SORForm(), math.cos(math.pi / (n + 1)), exact_rate(n, omega)
    assert form.rate(radius, omega) == pytest.approx(rate, rel=1e-13)
    assert form.radius(rate, omega) == pytest.approx(radius, rel=1e-13)
    assert form.iterations(radius, omega) == pytest.approx(math.log(1e6) / -math.log(rate), rel=1e-12)


@pytest.mark.parametrize("n", [10, 30, 100])
@pytest.mark.parametrize("what", ["Spectral", "Auto", "Choice"])
def test_every_tuner_is_at_youngs_omega(what, n):
    made = {
        "Spectral": lambda: Spectral("sor"),
        "Auto": lambda: Auto(method="sor", seed=0),
        "Choice": lambda: Choice({"sor": Spectral("sor")}),
    }
    tuner, young = made[what](), 2 / (1 + math.sin(math.pi / (n + 1)))
    for _ in range(4):
        value = tuner.suggest()
        omega = value["omega"] if what == "Choice" else value
        tuner.observe(100.0, Evidence(rate=exact_rate(n, omega) if omega < young else omega - 1))
    value = tuner.suggest()
    omega = value["omega"] if what == "Choice" else value
    # By design a hundredth of the distance to 2 above.
    assert omega == pytest.approx(young + 0.01 * (2 - young), abs=1e-9)
    spectral = {"Spectral": lambda: tuner, "Auto": lambda: tuner.spectral, "Choice": lambda: tuner.methods["sor"]}
    assert spectral[what]().radius() == pytest.approx(math.cos(math.pi / (n + 1)), rel=1e-9)
    assert spectral[what]().best() == pytest.approx(young + 0.01 * (2 - young), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("points", [10, 20])
def test_radius_of_poisson_from_the_preconditioned_spectrum(points):
    A = poisson((points, points)).A.toarray()
    D, L = np.diag(np.diag(A)), np.tril(A, -1)
    radius = math.cos(math.pi / (points + 1))
    form = SSORForm()
    lower = np.linalg.eigvalsh(L @ L.T).max() / 16
    assert lower == pytest.approx({10: 0.24388, 20: 0.24846}[points], rel=1e-4)
    for omega in (0.8, 1.0, 1.3, form.best(radius, lower) - 0.15):
        M = (D + omega * L) @ np.linalg.inv(D) @ (D + omega * L).T / (omega * (2 - omega))
        shown = 1 / eigh(M, A, eigvals_only=True, subset_by_index=[len(A) - 1] * 2)[0]
        for known in (lower, None):
            found = form.radius(shown, omega, known)
            assert found <= radius + (1e-9 if known else 0.3 * (1 - radius))
            assert 1 - found == pytest.approx(1 - radius, rel=0.3)


def test_both_branches_of_ssor():
    form = SSORForm()
    assert form.best(0.9594929736, 0.25) == pytest.approx(1.5569, abs=1e-4)
    assert form.best(0.98883, 0.25) == pytest.approx(1.7399, abs=1e-4)
    assert form.best(0.5, 0.1) == pytest.approx(2 / (1 + math.sqrt(0.6)))  # M >= 4 bb: without M
    assert form.best(0.9, 0.5) == form.best(0.9, 0.25)
    for radius in (0.9, 0.99):
        assert form.radius_of_best(form.best(radius, 0.25), 0.25) == pytest.approx(radius)
        assert form.radius_of_best(form.best(radius)) == pytest.approx(radius)


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_evidence_of_solves():
    problem = poisson((10, 10))
    rate = math.cos(math.pi / 11) ** 2
    assert Evidence(solution=rv.gauss_seidel(problem.A, problem.b, rtol=1e-8)).rate == pytest.approx(rate, rel=1e-3)
    plain = Evidence(solution=rv.cg(1000 * problem.A, problem.b, rtol=1e-10))
    assert plain.smallest == pytest.approx(1000 * problem.spectrum[0], rel=1e-3)
    # A Ritz value that still falls is far above the eigenvalue.
    early = rv.cg(problem.A, problem.b, rtol=1e-10, maxiter=5)
    T = early.evidence.matrix
    value, before = (extreme_eigenvalue(T.first(k), 0) for k in (5, 4))
    assert before > 1.1 * value > 1.1 * problem.spectrum[0]
    assert Evidence(solution=early).smallest is None
    assert Evidence().rate is None
    assert Evidence().smallest is None
    assert Evidence(solution=rv.sor(np.eye(3), np.ones(3))).rate is None
    assert Evidence(solution=rv.sor(np.eye(3), np.ones(3))).smallest is None


def test_look_is_proportional_to_the_radius_along_families():
    looks = [look_at(LinearSystem(p.A, p.b)) for p in shifted_laplacians(10, 5)]
    radii = [math.cos(math.pi / 11) * 4 / (4 + c) for c in shifted_laplacians(10, 5).shifts]
    assert np.ptp([look.size / radius for look, radius in zip(looks, radii, strict=True)]) < 1e-12
    heat = heat_sequence(30, 751)
    looks = [look_at(LinearSystem(heat.problem(t, heat.initial()).A, heat.initial())) for t in (100, 750)]
    radii = [4 * c * math.cos(math.pi / 30) / (1 + 4 * c) for c in heat.coefficients[[100, 750]]]
    assert looks[0].size / radii[0] == pytest.approx(looks[1].size / radii[1], rel=1e-12)
    for look, radius in zip(looks, radii, strict=True):
        assert radius <= look.row_sum <= radius / math.cos(math.pi / 30) + 1e-12
        assert look.lower == pytest.approx(look.row_sum**2 / 4)


def test_bound_holds_where_the_diagonal_varies():
    rng = np.random.default_rng(4)
    for _ in range(20):
        A = rng.standard_normal((30, 30)) * (rng.random((30, 30)) < 0.2)
        A = A + A.T + np.diag(rng.uniform(8, 40, 30))
        look = look_at(LinearSystem(A, np.ones(30)))
        off = np.abs(A - np.diag(np.diag(A))).sum(1) / np.diag(A)
        assert look.row_sum >= off.max() - 1e-12
        assert (look.row_sum < math.inf) == (off.max() < 1)
        assert look.size == pytest.approx(np.sqrt((off**2).mean()))


@pytest.mark.parametrize("A", [-np.eye(3), np.eye(3) * 1j, lambda x: x])
def test_no_look_where_there_is_nothing_to_see(A):
    if callable(A):
        A.shape, A.dtype = (3, 3), np.dtype(float)
    assert look_at(LinearSystem(A, np.ones(3))) is None


class Theory:
    """Solves as Young's theory has them: count and rate of SOR, with the noise that both have in practice."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def solve(self, radius, omega):
        form = SORForm()
        rate = form.rate(radius, omega)
        count = 18.4 / -math.log(rate) * self.rng.uniform(0.95, 1.1)
        if omega > form.best(radius):
            rate = rate ** self.rng.uniform(0.85, 1.2)  # the beat of complex eigenvalues
        return count, Evidence(rate=rate)


def excess(tuner, radii, contexts=None, looks=None):
    """Costs relative to those of Young's omega, system by system."""
    theory, found = Theory(), []
    for t, radius in enumerate(radii):
        if looks is not None:
            tuner.inspect(looks[t])
        omega = tuner.suggest(None if contexts is None else contexts[t])
        count, evidence = theory.solve(radius, omega)
        tuner.observe(count, evidence)
        found.append(count / (18.4 / -math.log(SORForm().best(radius) - 1)))
    return np.array(found)


SHIFTS = np.random.default_rng(8).uniform(-0.15, 0.45, 600)
RADII = math.cos(math.pi / 11) * 4 / (4 + SHIFTS)


@pytest.mark.parametrize(
    ("tuner", "contexts", "looks"),
    [
        (Spectral("sor"), None, [Look(1.9 / (4 + c), 1.1, 0.3) for c in SHIFTS]),
        (Spectral("sor"), SHIFTS, None),
        (Spectral("sor", family="shift"), SHIFTS, None),
        (Spectral("sor", family="shift", diagonal=4.0), SHIFTS, None),
    ],
    ids=["look", "auto from contexts", "shift", "shift with the diagonal"],
)
def test_omega_moves_along_a_shift(tuner, contexts, looks):
    found = excess(tuner, RADII, contexts, looks)
    assert found[30:].mean() < 1.1
    assert tuner.surprise < 0.05
    assert tuner.radius(None if contexts is None else 0.2) is not None


def test_one_measurement_is_enough_where_the_diagonal_is_known():
    tuner = Spectral("sor", family="shift", diagonal=4.0)
    found = excess(tuner, RADII[:12], SHIFTS[:12])
    assert (found[1:] < 1.6).all()
    assert tuner.radius(1.0) == pytest.approx(math.cos(math.pi / 11) * 0.8, rel=1e-3)


@pytest.mark.parametrize("family", ["auto", "scale"])
def test_omega_moves_along_a_scale(family):
    s = 0.2 + 5 * (1 + np.sin(np.arange(600) / 40))
    radii = 4 * s * math.cos(math.pi / 40) / (1 + 4 * s)
    found = excess(Spectral("sor", family=family), radii, s)
    assert found[30:].mean() < 1.12


def test_a_jump_is_noticed_in_both_directions():
    radii = np.repeat([0.9, 0.99, 0.93], 400)
    tuner = Spectral("sor")
    found = excess(tuner, radii)
    for begin in (0, 400):  # too low an omega shows at once
        assert found[begin + 5 : begin + 400].mean() < 1.15
    assert found[-250:].mean() < 1.15  # too high a one with the next probe
    assert tuner.radius() == pytest.approx(0.93, abs=0.01)


def test_it_never_goes_far_beyond_what_it_saw():
    tuner = Spectral("sor", family="shift")
    for context, rate in ((0.0, 0.9), (1.0, 0.8)):
        tuner.suggest(context)
        tuner.observe(50, Evidence(rate=rate))
    seen = max(1 / point.inverse for point in tuner.points)
    assert tuner.suggest(-5.0) <= SORForm().best(1 - (1 - seen) / 4)


def test_without_evidence_it_stays_with_its_guess():
    tuner = Spectral("sor")
    for _ in range(5):
        assert tuner.suggest() == 1.5
        tuner.observe(40)
    assert tuner.radius() is None
    tuner.inspect(Look(0.7, 0.8, 0.16))
    assert tuner.radius() == 0.8
