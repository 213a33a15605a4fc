"""Values of an independent implementation in NumPy, to their printed digits."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers.functional import gated_kalmanet  # noqa: E402

O = [
    [0.259784083689, 0.438096180782],
    [0.430248612102, 0.506220538820],
    [0.520632557075, 0.441965278477],
    [0.430842993037, 0.208604472677],
]
X = {0: [-3.896823185297, 16.172302698400, 2.148388050169], 3: [3.955102283290, -5.660664694696, 3.484612395578]}
H_END = [
    [1.288125179025, 0.553698242336, -0.599756485324],
    [0.553698242336, 0.666832897145, 0.275321709736],
    [-0.599756485324, 0.275321709736, 0.942041923830],
]
U_END = [[-0.918081032864, 0.553421505753], [-0.886840453332, -0.075974720964], [-0.184456699250, -0.647874793528]]
LOSS = -1.064123980141774
GRADIENTS = {
    ("q", 0): [0.068922863885, 0.026142343011, -0.036422181866],
    ("q", 3): [0.356204213044, 0.375956873043, 0.111192866802],
    ("k", 0): [-1.209344708641, 1.832085804667, -1.154042658809],
    ("k", 3): [-1.211383636429, 1.830240333847, -1.078766325636],
    ("v", 0): [0.683737334088, -0.850461667439],
    ("v", 3): [0.072485397844, -0.020769214350],
}
GATE_GRADIENTS = {
    "g": [0.0, -0.202127221591, -0.151381209515, -0.045667903870],
    "alpha": [-0.001525034330, -0.004624004237, 0.112991641457, 0.036700194828],
}
CHEBYSHEV = {
    1: [0.807285887594, 0.382816691028],
    5: [0.585816837669, 0.280881192049],
    30: [0.430775544958, 0.208573471426],
}
DIGITS = 5.01e-13  # twelve of them are printed
SOLVED = [
    ("recurrent", {"solver": "exact"}),
    ("chunk", {"solver": "exact"}),
    *((form, {"solver": solver, "rtol": 1e-15}) for form in ("chunk", "compiled") for solver in ("chebyshev", "cg")),
]


def close(found, wanted, tolerance=DIGITS):
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=tolerance)


@pytest.fixture
def inputs():
    t = torch.arange(4, dtype=torch.float64)[:, None]
    i, j = torch.arange(3, dtype=torch.float64), torch.arange(2, dtype=torch.float64)
    q, k = torch.sin(1 + 0.7 * t + 1.3 * i), torch.cos(0.3 + 1.1 * t + 0.9 * i)
    tokens = {
        "q": q / q.norm(dim=1, keepdim=True),
        "k": k / k.norm(dim=1, keepdim=True),
        "v": torch.sin(0.5 + 0.4 * t + 1.7 * j),
        "g": torch.tensor([0.9, 0.8, 0.95, 0.7], dtype=torch.float64).log(),
        "alpha": torch.tensor([0.2, 0.5, 0.8, 1.0], dtype=torch.float64),
    }
    return {name: value.unsqueeze(0).unsqueeze(2) for name, value in tokens.items()}


@pytest.mark.parametrize(("form", "how"), SOLVED)
def test_output_and_states(inputs, form, how):
    o, (H, U) = gated_kalmanet(**inputs, gk=inputs["g"], output_final_state=True, form=form, **how)
    close(o[0, :, 0], O)
    close(H[0, 0], H_END)
    close(U[0, 0], U_END)


@pytest.mark.parametrize(("form", "how"), SOLVED)
def test_solutions(inputs, form, how):
    """With U = I throughout, the output is x_t."""
    state = torch.zeros(1, 1, 3, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None, None]
    v = torch.zeros(1, 4, 1, 3, dtype=torch.float64)
    x, _ = gated_kalmanet(inputs["q"], inputs["k"], v, gk=inputs["g"], scale=1.0, initial_state=state, form=form, **how)
    for t, wanted in X.items():
        close(x[0, t, 0], wanted, 16.2 * DIGITS)  # relative to the largest entry, where iterations stop


@pytest.mark.parametrize(("form", "how"), [(form, how) for form, how in SOLVED if form != "compiled"])
def test_gradients(inputs, form, how):
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    o, _ = gated_kalmanet(**inputs, gk=inputs["g"], form=form, **how)
    t, j = torch.arange(4, dtype=torch.float64)[:, None], torch.arange(2, dtype=torch.float64)
    loss = (o[0, :, 0] * torch.cos(t + 2 * j)).sum()
    assert abs(loss.item() - LOSS) < 1e-14
    loss.backward()
    for (name, token), wanted in GRADIENTS.items():
        close(inputs[name].grad[0, token, 0], wanted, 2 * DIGITS)
    for name, wanted in GATE_GRADIENTS.items():
        close(inputs[name].grad[0, :, 0], wanted, 2 * DIGITS)


@pytest.mark.parametrize("steps", CHEBYSHEV)
@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled"])
def test_truncated_chebyshev(inputs, form, steps):
    o, _ = gated_kalmanet(**inputs, gk=inputs["g"], solver="paper", num_iter=steps, form=form)
    close(o[0, 3, 0], CHEBYSHEV[steps])
