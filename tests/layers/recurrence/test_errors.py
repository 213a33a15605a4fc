"""What cannot be computed with is refused in words that name the argument, what was found and what was wanted."""

import pytest
import torch

from resolvent.errors import InputError
from resolvent.layers import functional as F


def given(**changes):
    rows = {name: torch.full((1, 4, 2, 3), 0.5) for name in ("q", "k", "v")}
    return {**rows, "g": -torch.ones(1, 4, 2), "beta": torch.ones(1, 4, 2), **changes}


REFUSED = [
    ({"q": "words"}, "q: found str; wanted a torch.Tensor"),
    ({"q": torch.ones(1, 4, 2, 3, dtype=torch.int64)}, "q: found the dtype torch.int64; wanted a floating-point one"),
    ({"k": torch.ones(1, 4, 2, 5)}, r"k: found the shape \(1, 4, 2, 5\); wanted \(1, 4, 2, 3\)"),
    ({"q": torch.ones(4, 2, 3)}, r"q: found the shape \(4, 2, 3\); wanted four axes"),
    ({"v": torch.ones(1, 4, 3, 3)}, "v: found 3 heads; wanted a multiple of those of q and k, 2"),
    ({"v": torch.ones(1, 5, 2, 3)}, r"v: found the shape \(1, 5, 2, 3\)"),
    ({"v": torch.ones(1, 4, 2, 3, device="meta")}, "v: found the device meta; wanted that of q, cpu"),
    ({"k": torch.full((1, 4, 2, 3), torch.nan)}, "k: found NaN or infinity"),
    ({"v": torch.full((1, 4, 2, 3), torch.inf)}, "v: found NaN or infinity"),
    (
        {"g": torch.ones(1, 4, 2)},
        "g: found 1; wanted logarithms of decays, at most 0. Were the decays themselves given",
    ),
    ({"g": torch.full((1, 4, 2), torch.nan)}, "g: found NaN; wanted logarithms of decays"),
    ({"g": -torch.ones(1, 4, 2, 3)}, r"g: found the shape \(1, 4, 2, 3\); wanted \(1, 4, 2\), \(B, T, H\)"),
    ({"beta": torch.full((1, 4, 2), 2.5)}, "beta: found 2.5; wanted at most 2"),
    ({"beta": torch.full((1, 4, 2), -0.5)}, "beta: found -0.5; wanted at least 0"),
    ({"beta": torch.ones(1, 4)}, r"beta: found the shape \(1, 4\); wanted \(1, 4, 2\)"),
    (
        {"initial_state": torch.ones(1, 2, 3, 4)},
        r"initial_state: found the shape \(1, 2, 3, 4\); wanted \(1, 2, 3, 3\)",
    ),
    ({"initial_state": torch.full((1, 2, 3, 3), torch.nan)}, "initial_state: found NaN or infinity"),
    ({"scale": float("nan")}, "scale: found nan; wanted a finite number"),
    ({"cu_seqlens": [0, 3]}, r"cu_seqlens: found \[0, 3\]; wanted to start with 0 and to end with T = 4"),
    ({"cu_seqlens": [0, 3, 2, 4]}, "cu_seqlens: .* wanted numbers that do not decrease"),
    ({"cu_seqlens": torch.tensor([0.0, 4.0])}, "cu_seqlens: found torch.float32"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_messages(changes, message):
    with pytest.raises(InputError, match=message):
        F.chunk_gated_delta_rule(**given(**changes))


def test_packed_sequences_are_of_one_batch():
    rows = torch.ones(2, 4, 1, 3)
    with pytest.raises(InputError, match="cu_seqlens: found a batch of 2; wanted sequences packed along T"):
        F.chunk_linear_attn(rows, rows, rows, cu_seqlens=[0, 8])


@pytest.mark.parametrize("n", [0, -1, 1.5, "two"])
def test_numbers_of_corrections(n):
    with pytest.raises(InputError, match="num_householder: found"):
        F.chunk_gated_delta_product(**given(), num_householder=n)


def test_corrections_are_so_many_a_token():
    with pytest.raises(InputError, match=r"k: found the shape \(1, 4, 2, 3\); wanted \(1, 8, 2, 3\), \(B, 2 T, H, D\)"):
        F.chunk_gated_delta_product(**given(), num_householder=2)


def test_values_that_are_not_looked_at():
    o, _ = F.chunk_gated_delta_rule(**given(beta=torch.full((1, 4, 2), 2.5)), validate=False)
    assert o.isfinite().all()


FILTERS = [
    (F.kalman_filter, {"noise": 0.0}, "noise: found 0.0; wanted a positive number"),
    (F.kalman_filter, {"noise": torch.zeros(2)}, "noise: found 0; wanted positive numbers"),
    (F.kalman_filter, {"process_noise": -1.0}, "process_noise: found -1.0; wanted a non-negative number"),
    (F.kalman_filter, {"process_noise": torch.ones(5)}, r"process_noise: found the shape \(5,\); wanted \(\), \(H,\)"),
    (
        F.kalman_filter,
        {"process_noise": -torch.eye(3).expand(2, 3, 3)},
        "process_noise: found a matrix that is ind",
    ),
    (F.kalman_filter, {"initial_covariance": torch.triu(torch.ones(2, 3, 3))}, "initial_covariance: .* not symmetric"),
    (F.kalman_filter, {"form": "fused"}, "form: found 'fused'; wanted one of auto, recurrent, chunk, triton"),
    (F.kalman_filter, {"initial_state": (1, 2, 3)}, "initial_state: wanted a tensor or a pair"),
    (F.rls, {"g": torch.full((1, 4, 2), -torch.inf)}, "g: found NaN or infinity"),
    (F.kdn, {"covariance": "full"}, "covariance: found 'full'; wanted one of diagonal, isotropic"),
    (F.kdn, {"initial_precision": 0.0}, "initial_precision: found 0.0; wanted a positive number"),
]


@pytest.mark.parametrize(("function", "changes", "message"), FILTERS, ids=[message[:40] for *_, message in FILTERS])
def test_filters(function, changes, message):
    rows = given(**changes)
    del rows["beta"]
    with pytest.raises(InputError, match=message):
        function(**rows)


def test_a_pair_of_states_is_of_what_is_normalized():
    rows = torch.ones(1, 2, 1, 3)
    with pytest.raises(InputError, match="initial_state: found a pair"):
        F.chunk_linear_attn(rows, rows, rows, normalize=False, initial_state=(rows, rows))
