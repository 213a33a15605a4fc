"""Every bad argument is an error that names it, what was found, and what was wanted."""

import math

import pytest

torch = pytest.importorskip("torch")

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression import arguments  # noqa: E402


@pytest.fixture
def call(draw, semidefinite):
    """The operation on good arguments, some of which are replaced."""

    def called(**changes):
        q, k, v, g, gk, alpha = draw(2, 12, 2, 4, 3)
        values = {"q": q, "k": k, "v": v, "g": g, "gk": gk, "alpha": alpha, "beta": alpha}
        values["initial_state"] = semidefinite(2, 2, 4, 3)
        for name, change in changes.items():
            values[name] = change(values[name]) if callable(change) else change
        return gated_kalmanet(**values)

    return called


def put(value, place=(1, 3, 1)):
    """A copy with one entry replaced."""

    def changed(tensor):
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    return changed


def in_state(which, change):
    def changed(state):
        state = list(state)
        state[which] = change(state[which])
        return tuple(state)

    return changed


SHAPES = [
    ({"q": lambda q: q[0]}, r"q: found the shape \(12, 2, 4\); wanted four axes, \(B, T, H, D\)"),
    ({"k": lambda k: k[..., :3]}, r"k: found the shape \(2, 12, 2, 3\); wanted that of q, \(2, 12, 2, 4\)"),
    ({"k": lambda k: k[:, :5]}, r"k: found the shape \(2, 5, 2, 4\); wanted that of q"),
    ({"v": lambda v: v[:, :, :1]}, r"v: found the shape \(2, 12, 1, 3\); wanted \(2, 12, 2, 'V'\)"),
    ({"v": lambda v: v[..., :0]}, r"q, v: found the dimensions 4 and 0; wanted at least 1"),
    ({"g": lambda g: g[0]}, r"g: found the shape \(12, 2\); wanted \(2, 12, 2\), \(B, T, H\)"),
    ({"gk": lambda g: g[..., None]}, r"gk: found the shape \(2, 12, 2, 1\)"),
    ({"alpha": lambda alpha: alpha[:, :1]}, r"alpha: found the shape \(2, 1, 2\)"),
    ({"beta": lambda beta: beta[..., :1]}, r"beta: found the shape \(2, 12, 1\)"),
    ({"q": lambda q: q.numpy()}, r"q: found ndarray; wanted a torch.Tensor"),
    ({"v": None}, r"v: found NoneType; wanted a torch.Tensor"),
    ({"g": -0.1}, r"g: found float; wanted a torch.Tensor"),
    ({"k": lambda k: k.long()}, r"k: found the dtype torch.int64; wanted a floating-point one"),
    ({"q": lambda q: q.to(torch.complex128)}, r"q: found the dtype torch.complex128; wanted a floating-point one"),
    ({"alpha": lambda alpha: alpha > 0.5}, r"alpha: found the dtype torch.bool"),
    ({"k": lambda k: k.to("meta")}, r"k: found the device meta; wanted that of q, cpu"),
    ({"initial_state": torch.eye(4)}, r"initial_state: wanted a pair of tensors \(h_kk, h_kv\)"),
    ({"initial_state": lambda state: (*state, None)}, r"initial_state: wanted a pair of tensors"),
    (
        {"initial_state": in_state(0, lambda H: H[:1])},
        r"initial_state, h_kk: found the shape \(1, 2, 4, 4\); wanted \(2, 2, 4, 4\)",
    ),
    (
        {"initial_state": in_state(1, lambda U: U.mT)},
        r"initial_state, h_kv: found the shape \(2, 2, 3, 4\); wanted \(2, 2, 4, 3\)",
    ),
    ({"initial_state": in_state(1, lambda U: None)}, r"initial_state, h_kv: found NoneType"),
    ({"initial_state": in_state(0, lambda H: H.long())}, r"initial_state, h_kk: found the dtype torch.int64"),
    ({"ridge_ratio": torch.ones(3)}, r"ridge_ratio: found the shape \(3,\); wanted \(\) or \(H,\) = \(2,\)"),
    ({"ridge_ratio": 0.0}, r"ridge_ratio: found 0.0; wanted a positive number"),
    ({"ridge_ratio": -0.02}, r"ridge_ratio: found -0.02; wanted a positive number"),
    ({"ridge_ratio": math.nan}, r"ridge_ratio: found nan; wanted a positive number"),
    ({"scale": math.inf}, r"scale: found inf; wanted a finite number"),
    ({"num_iter": 0}, r"num_iter: found 0; wanted at least 1"),
    ({"num_iter": 2.5}, r"num_iter: found 2.5; wanted an integer"),
    ({"rtol": 0.0}, r"rtol: found 0.0; wanted a number between 0 and 1"),
    ({"rtol": 1.0}, r"rtol: found 1.0; wanted a number between 0 and 1"),
    ({"rtol": math.nan}, r"rtol: found nan; wanted a number between 0 and 1"),
    ({"rtol": 1e-3, "num_iter": 5}, r"num_iter, rtol: found both; wanted a number of steps or a tolerance"),
    ({"solver": "gmres"}, r"solver: found 'gmres'; wanted one of cg, chebyshev, exact, paper"),
    ({"interval": "gershgorin"}, r"interval: found 'gershgorin'; wanted one of wolkowicz_styan, frobenius"),
    ({"form": "gpu"}, r"form: found 'gpu'; wanted one of auto, recurrent, chunk, compiled, triton"),
    ({"form": "compiled", "solver": "exact"}, r"form: found 'compiled' for the solver 'exact'"),
    (
        {"form": "compiled", "k": lambda k: k.requires_grad_()},
        r"form: found 'compiled' where gradients are needed; wanted 'chunk' or 'recurrent'",
    ),
    (
        {"cu_seqlens": [0, 12]},
        r"cu_seqlens: found a batch of 2; wanted sequences packed along T in a batch of 1",
    ),
]

VALUES = [
    ({"q": put(math.nan)}, r"q: found NaN or infinity; wanted finite numbers"),
    ({"k": put(math.inf)}, r"k: found NaN or infinity; wanted finite numbers"),
    ({"v": put(-math.inf)}, r"v: found NaN or infinity; wanted finite numbers"),
    ({"g": put(0.5)}, r"g: found 0.5; wanted logarithms of decays, at most 0. Were the decays themselves given\?"),
    ({"gk": lambda g: g.exp()}, r"gk: found 0.9\d*; wanted logarithms of decays, at most 0. Were the decays"),
    ({"gk": lambda g: put(-0.9)(g.exp()).log()}, r"gk: found NaN; .* A negative decay has no real logarithm"),
    ({"g": put(math.inf)}, r"g: found inf; wanted logarithms of decays"),
    ({"alpha": put(1.5)}, r"alpha: found 1.5; wanted at most 1"),
    ({"alpha": put(-0.5)}, r"alpha: found -0.5; wanted at least 0"),
    ({"alpha": put(math.nan)}, r"alpha: found NaN or infinity"),
    ({"beta": put(-1.0)}, r"beta: found -1; wanted at least 0"),
    ({"beta": put(math.inf)}, r"beta: found NaN or infinity"),
    ({"ridge_ratio": torch.tensor([0.02, 0.0])}, r"ridge_ratio: found \[0.0199\d*, 0.0\]; wanted positive numbers"),
    ({"initial_state": in_state(0, put(math.nan, (1, 1, 3)))}, r"initial_state, h_kk: found NaN or infinity"),
    ({"initial_state": in_state(1, put(math.nan, (1, 1, 3)))}, r"initial_state, h_kv: found NaN or infinity"),
    (
        {"initial_state": in_state(0, lambda H: H + H.triu(1))},
        r"initial_state, h_kk: found a matrix that is not symmetric; wanted a positive semidefinite one",
    ),
    (
        {"initial_state": in_state(0, lambda H: H - 0.1 * torch.eye(4) * H.amax())},
        r"initial_state, h_kk: found a matrix that is indefinite; wanted a positive semidefinite one",
    ),
    (
        {"initial_state": in_state(0, lambda H: 1e-20 * (H - 0.1 * torch.eye(4) * H.amax()))},
        r"initial_state, h_kk: found a matrix that is indefinite",
    ),
]


@pytest.mark.parametrize(
    ("changes", "message"), [*SHAPES, *VALUES], ids=[message[:40] for _, message in SHAPES + VALUES]
)
def test_messages(call, changes, message):
    with pytest.raises(InputError, match=message):
        call(**changes)


@pytest.mark.parametrize("changes", [changes for changes, _ in SHAPES], ids=[message[:40] for _, message in SHAPES])
def test_what_needs_no_values_is_checked_always(call, changes):
    with pytest.raises(InputError):
        call(**changes, validate=False)


@pytest.mark.parametrize("changes", [changes for changes, _ in VALUES], ids=[message[:40] for _, message in VALUES])
def test_values_are_not_read_without_validate(call, changes):
    call(**changes, validate=False)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([0, 5, 11], r"found \[0, 5, 11\]; wanted to start with 0 and to end with T = 12"),
        ([1, 12], r"wanted to start with 0"),
        ([0, 13], r"to end with T = 12"),
        ([0], r"to end with T = 12"),
        ([0, 7, 5, 12], r"found \[0, 7, 5, 12\]; wanted numbers that do not decrease"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 11], r"found \[0, 1, 2, 3, ..., 11\]"),
        (torch.tensor([0.0, 12.0]), r"found torch.float32 of the shape \(2,\); wanted integers, \(N \+ 1,\)"),
        (torch.tensor([[0, 12]]), r"found torch.int64 of the shape \(1, 2\); wanted integers"),
    ],
)
def test_ends_of_sequences(draw, ends, message):
    for validate in (True, False):
        with pytest.raises(InputError, match=f"cu_seqlens: .*{message}"):
            gated_kalmanet(*draw(1, 12), cu_seqlens=ends, validate=validate)


def test_rounding_of_a_state_is_no_error(draw, semidefinite):
    """Neither that of other formats nor a rank below the dimension."""
    tokens = draw(1, 3)
    H, U = semidefinite(1, rank=2)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        gated_kalmanet(*tokens, initial_state=(H.to(dtype), U.to(dtype)))
        gated_kalmanet(*tokens, initial_state=((1e-30 * H).to(dtype), U.to(dtype)))
    gated_kalmanet(*tokens, initial_state=(torch.zeros_like(H), U))


@pytest.mark.parametrize("form", ["chunk", "compiled"])
def test_own_states_are_checked_only_after_writing(draw, monkeypatch, form):
    checked = []
    original = arguments.check_semidefinite
    monkeypatch.setattr(arguments, "check_semidefinite", lambda *given: (checked.append(1), original(*given)))
    tokens = draw(1, 3)
    state = None
    for _ in range(3):
        _, state = gated_kalmanet(*tokens, initial_state=state, output_final_state=True, form=form)
    assert not checked
    gated_kalmanet(*tokens, initial_state=tuple(part.clone() for part in state))
    assert len(checked) == 1
    state[0][0, 0] = -torch.eye(8)
    with pytest.raises(InputError, match="indefinite"):
        gated_kalmanet(*tokens, initial_state=state)
    with torch.inference_mode():
        _, state = gated_kalmanet(*tokens, output_final_state=True, form=form)
        gated_kalmanet(*tokens, initial_state=state)
    assert len(checked) == 2
