"""The table of the family is what its operations are: names, decays, and states of the size it gives."""

import inspect

import pytest
import torch

from resolvent.layers import functional as F
from resolvent.layers.recurrence.family import FAMILY

D, V = 4, 3
BUILT = {
    name: row
    for name, row in FAMILY.items()
    if name not in ("mesa_net", "gka") and all(hasattr(F, function) for function in row.functions)
}


def arguments(function, generator):
    """What it takes without a default, and a decay where it has one."""
    rows = torch.randn(3, 1, 6, 1, D, generator=generator, dtype=torch.float64)
    scalar = torch.rand(1, 6, 1, generator=generator, dtype=torch.float64)
    values = {
        "q": rows[0], "k": torch.nn.functional.normalize(rows[1], dim=-1), "v": rows[2][..., :V], "p": rows[2],
        "g": -scalar, "gk": -scalar, "beta": scalar, "g_atk": -scalar, "beta_atk": scalar, "num_householder": 1,
    }  # fmt: skip
    parameters = inspect.signature(function).parameters
    return {name: values[name] for name in parameters if name in values}


@pytest.mark.parametrize("name", BUILT)
def test_members_are_recurrences_of_their_row(name):
    row = BUILT[name]
    for function in (getattr(F, function) for function in row.functions):
        given = arguments(function, torch.Generator().manual_seed(0))
        assert ("g" in given or "gk" in given) == (row.decay != "none")
        if row.decay == "channel":
            given |= {gate: given[gate][..., None].expand(given["q"].shape) for gate in ("g", "gk") if gate in given}
        o, *states = function(**given, output_final_state=True)
        assert o.shape == (1, 6, 1, V)
        flat = [part for state in states for part in (state if isinstance(state, tuple) else (state,))]
        kept = sum(part.numel() for part in flat)
        normalized = D if function is F.chunk_linear_attn else 0  # whose mean keeps the sum of the keys, too
        assert kept == normalized + {"D V": D * V, "D V + D": D * V + D, "D (D + V)": D * (D + V)}[row.state]


@pytest.mark.parametrize("name", BUILT)
def test_what_erases_writes_a_value_once(name):
    """The same unit key and value twice: what erases holds less than twice the value, what only adds twice."""
    row = BUILT[name]
    function = getattr(F, row.functions[-1])
    given = arguments(function, torch.Generator().manual_seed(0))
    for part, tensor in given.items():
        if isinstance(tensor, torch.Tensor):
            still = part in ("g", "gk", "g_atk")
            given[part] = torch.zeros_like(tensor[:, :2]) if still else torch.ones_like(tensor[:, :2])
    for part in ("q", "k", "p"):
        if part in given:
            given[part] = given[part] * D**-0.5
    for part in ("g", "gk"):
        if part in given and row.decay == "channel":
            given[part] = given[part][..., None].expand(given["q"].shape)
    o, *_ = function(**given, scale=1.0)
    assert (float(o[0, 1, 0, 0]) > 1.9) == (not row.erases)


def test_rows_are_complete():
    for row in FAMILY.values():
        assert row.decay in ("none", "head", "channel", "optional")
        assert all((row.title, row.write, row.erase, row.read, row.assumes, row.state, row.cost, row.source))
        assert row.functions
