"""The operations of the layers beside the reference implementations of flash-linear-attention, value and gradient.

Where that package can be imported (its references need no GPU):

    pip install --target fla --no-deps flash-linear-attention fla-core einops transformers
    PYTHONPATH=fla python benchmarks/peers_fla.py [--csv docs/images/peers_fla.csv]

Both compute in float32. A number is the largest difference over the largest entry, of gradients that of the argument
where it is worst: between the two, and of each from our token-by-token form in float64. A minute on two cores.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from resolvent.layers import functional

BATCH, TOKENS, HEADS, D, V = 2, 130, 2, 24, 20  # two chunks and a bit, no size a power of two
Arguments = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pair:
    """One of our functions, by name, and the reference it is compared with.

    Attributes
    ----------
    module, reference : str
        ``fla.ops.MODULE.naive.REFERENCE``.
    arguments : str
        Names of ``inputs``, apart by spaces, in the order in which ours takes them; both take them by name.
    heads_first : bool
        The reference has heads before tokens.
    square : bool
        It needs V = D.
    settings, theirs : dict
        Further arguments of ours and of the reference.
    """

    module: str
    reference: str
    arguments: str
    heads_first: bool = False
    square: bool = False
    settings: tuple[tuple[str, Any], ...] = ()
    theirs: tuple[tuple[str, Any], ...] = ()


PAIRS = {
    "linear_attn": Pair("linear_attn", "naive_recurrent_linear_attn", "q k v", settings=(("normalize", False),)),
    "simple_gla": Pair("simple_gla", "naive_recurrent_simple_gla", "q k v g"),
    "gla": Pair("gla", "naive_recurrent_gla", "q k v gk"),
    "delta_rule": Pair("delta_rule", "delta_rule_recurrence", "q k v beta", heads_first=True),
    "gated_delta_rule": Pair("gated_delta_rule", "naive_recurrent_gated_delta_rule", "q k v g beta"),
    "gated_delta_product": Pair(
        "gated_delta_product", "naive_recurrent_gated_delta_product", "q k2 v2 g beta2",
        settings=(("num_householder", 2),), theirs=(("num_householder", 2), ("scale", D**-0.5)),
    ),
    "kda": Pair("kda", "naive_recurrent_kda", "q k v gk beta"),
    "comba": Pair("comba", "naive_chunk_comba", "q k v p g beta"),
    "precond_gated_delta_rule": Pair(
        "precond_gated_delta_rule", "naive_recurrent_precond_gated_delta_rule", "q k v g_atk g beta_atk beta",
    ),
    "precond_kda": Pair("precond_kda", "naive_recurrent_precond_kda", "q k v gk g_atk beta_atk beta"),
    "mesa_net": Pair("mesa_net", "naive_mesa_net_exact", "q k v g beta lamb", square=True),
}  # fmt: skip

INPUTS = {
    "random": {},
    "beta to 2": {"strongest": 2.0},
    "beta of 1e-6": {"strongest": 1e-6},
    "keys alike": {"apart": 1e-2},
    "strong decay": {"decay": 20.0},
    "no decay": {"decay": 0.0},
    "values of 1e4": {"values": 1e4},
}


def inputs(strongest: float = 1.0, apart: float = 1.0, decay: float = 0.2, values: float = 1.0) -> Arguments:
    """All arguments that the functions take, in float64: unit queries and keys, gates in logarithms."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(BATCH, *shape, generator=generator, dtype=torch.float64)

    def keys(tokens: int) -> torch.Tensor:
        alone, common = normal(tokens, HEADS, D), normal(1, HEADS, D)
        return normalize(alone if apart == 1 else common + apart * alone, dim=-1)

    return {
        "q": normalize(normal(TOKENS, HEADS, D), dim=-1),
        "k": keys(TOKENS),
        "k2": keys(2 * TOKENS),
        "p": normalize(normal(TOKENS, HEADS, D), dim=-1),
        "v": values * normal(TOKENS, HEADS, V),
        "v2": values * normal(2 * TOKENS, HEADS, V),
        "g": -decay * uniform(TOKENS, HEADS),
        "gk": -decay * uniform(TOKENS, HEADS, D),
        "g_atk": -decay * uniform(TOKENS, HEADS),
        "beta": strongest * uniform(TOKENS, HEADS),
        "beta2": strongest * uniform(2 * TOKENS, HEADS),
        "beta_atk": uniform(TOKENS, HEADS),
        "lamb": 0.25 + uniform(HEADS, D)[0],
    }


def value_and_gradients(function: Callable[[Arguments], torch.Tensor], given: Arguments) -> list[torch.Tensor]:
    """The output, and the gradients of a fixed combination of its entries."""
    leaves = {name: value.detach().requires_grad_() for name, value in given.items()}
    o = function(leaves)
    weights = torch.cos(torch.arange(o.numel(), dtype=o.dtype)).reshape(o.shape)
    return [o.detach(), *torch.autograd.grad((o * weights).sum(), list(leaves.values()))]


def distance(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> tuple[float, float]:
    """Of values and of gradients, the worst: largest difference over largest entry."""
    each = []
    for a, b in zip(found, wanted, strict=True):
        a, b = a.double(), b.double()
        size = float(b.abs().max())
        gap = float((a - b).abs().max())
        each.append(gap / size if size else gap)
    return each[0], max((math.inf if math.isnan(one) else one) for one in each[1:])


def compare(name: str, pair: Pair, kind: str) -> tuple[tuple[float, float], ...]:
    """Ours and theirs, ours and what is right, theirs and what is right: values and gradients."""
    given = inputs(**INPUTS[kind])
    if pair.square:
        given["v"] = given["v"].repeat(1, 1, 1, 2)[..., :D]
    chosen = {key: given[key] for key in pair.arguments.split()}
    reference = getattr(importlib.import_module(f"fla.ops.{pair.module}.naive"), pair.reference)
    chunk = getattr(functional, f"chunk_{name}")
    definition = getattr(functional, f"fused_recurrent_{name}", chunk)

    def ours(function: Callable[..., Any]) -> Callable[[Arguments], torch.Tensor]:
        decay = "gk" if function is functional.fused_recurrent_gla else "g"
        return lambda leaves: function(**renamed(leaves, decay), **dict(pair.settings))[0]

    def theirs(leaves: Arguments) -> torch.Tensor:
        turned = {key: value.transpose(1, 2) if pair.heads_first else value for key, value in leaves.items()}
        o = reference(**renamed(turned, "gk" if pair.module == "gla" else "g"), **dict(pair.theirs))[0]
        return o.transpose(1, 2) if pair.heads_first else o

    single = {key: value.float() for key, value in chosen.items()}
    exact = value_and_gradients(ours(definition), chosen)
    found, other = value_and_gradients(ours(chunk), single), value_and_gradients(theirs, single)
    return distance(found, other), distance(found, exact), distance(other, exact)


def renamed(leaves: Arguments, decay: str) -> Arguments:
    """With the names of the functions' own arguments; ``decay`` is that of a decay for each channel."""
    called = {"k2": "k", "v2": "v", "beta2": "beta", "gk": decay}
    return {called.get(key, key): value for key, value in leaves.items()}


def main() -> None:
    """All pairs on all inputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--csv", type=Path, help="a file to write the table to")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Triton is not supported")
    head = ("function", "input", "difference", "ours", "theirs", "of gradients", "ours", "theirs")
    print(f"flash-linear-attention {version('flash-linear-attention')}, PyTorch {torch.__version__}")
    print("{:26}{:15}{:>12}{:>10}{:>10}{:>14}{:>10}{:>10}".format(*head))
    rows = []
    for name in options.only:
        if not hasattr(functional, f"chunk_{name}"):
            print(f"{name:26}not here")
            continue
        for kind in INPUTS:
            between, mine, other = compare(name, PAIRS[name], kind)
            numbers = [f"{x:.0e}" for x in (between[0], mine[0], other[0], between[1], mine[1], other[1])]
            print("{:26}{:15}{:>12}{:>10}{:>10}{:>14}{:>10}{:>10}".format(name, kind, *numbers), flush=True)
            rows.append((name, kind, *numbers))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    main()
