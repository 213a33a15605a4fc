"""How many pairs a memory holds before anything is trained: keys and values written once, then asked for.

Keys are random directions, alone or with a direction that all of them share; values are codes, and what is read is
taken for the nearest of 512. Linear attention adds outer products, the delta rule corrects what it reads, and the
regressions solve for all pairs at once. The operations are those of the layers, called as functions.

    python examples/untrained_recall.py [--trials 8] [--seed 0] [--figure recall.png]

Half a minute on two cores.
"""

import argparse
from pathlib import Path

import torch
from torch.nn.functional import normalize

from resolvent.layers.functional import chunk_delta_rule, chunk_linear_attn, gated_kalmanet, rls

D, CODES = 64, 512
PAIRS = (16, 32, 48, 64, 96, 128, 192, 256)


def ridge(strength):
    """Ridge regression with a ridge that stays, which is MesaNet's memory without forgetting."""
    return lambda q, k, v: rls(q, k, v, initial_covariance=1 / strength)


def kalmanet(ratio):
    """Ridge regression with a ridge in proportion to the Gram matrix, Gated KalmaNet's."""
    return lambda q, k, v: gated_kalmanet(q, k, v, ridge_ratio=ratio, solver="cg", rtol=1e-8)


MEMORIES = {
    "linear attention": lambda q, k, v: chunk_linear_attn(q, k, v, normalize=False),
    "DeltaNet, beta = 1": lambda q, k, v: chunk_delta_rule(q, k, v),
    "Gated KalmaNet, a = 0.05": kalmanet(0.05),
    "Gated KalmaNet, a = 0.02": kalmanet(0.02),
    "MesaNet, ridge 1": ridge(1.0),
    "MesaNet, ridge 1/4": ridge(0.25),
    "ridge 1e-6": ridge(1e-6),
}


def tokens(trials, pairs, shared, generator):
    """Queries, keys and values (trials, 2 pairs, 1, D), and which code each question is for: write first, then read.

    ``shared`` is the part of a key's squared length that lies in the direction that all have in common.
    """

    def draw(*shape):
        return normalize(torch.randn(*shape, D, generator=generator, dtype=torch.float64), dim=-1)

    keys = normalize(shared**0.5 * draw(trials, 1) + (1 - shared) ** 0.5 * draw(trials, pairs), dim=-1)
    codes = draw(CODES)
    which = torch.randint(CODES, (trials, pairs), generator=generator)
    nothing = torch.zeros_like(keys)
    q, k, v = torch.cat([keys, keys], 1), torch.cat([keys, nothing], 1), torch.cat([codes[which], nothing], 1)
    return [x.unsqueeze(2) for x in (q, k, v)], codes, which


def recalled(memory, shared, pairs, options):
    """Mean accuracy over the trials, and its standard error."""
    generator = torch.Generator().manual_seed(options.seed + pairs)
    qkv, codes, which = tokens(options.trials, pairs, shared, generator)
    read = MEMORIES[memory](*qkv)[0][:, pairs:, 0]
    right = ((read @ codes.T).argmax(-1) == which).double().mean(1)
    return float(right.mean()), float(right.std() / options.trials**0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    options = parser.parse_args()
    found = {}
    for shared in (0.0, 0.5):
        print(f"\n{f'keys share {shared:.0%} of their length':28}" + "".join(f"{pairs:>13}" for pairs in options.pairs))
        for memory in MEMORIES:
            found[memory, shared] = [recalled(memory, shared, pairs, options) for pairs in options.pairs]
            cells = "".join(f"{mean:>8.3f}±{error:.3f}"[-13:].rjust(13) for mean, error in found[memory, shared])
            print(f"  {memory:26}{cells}")
    if options.figure:
        draw_figure(found, options)


def draw_figure(found, options):
    """Accuracy over the number of pairs."""
    from matplotlib.figure import Figure

    colours = ("#8C8C8C", "#56B4E9", "#E69F00", "#D55E00", "#0072B2", "#009E73", "#333333")
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axes, shared in zip(figure.subplots(1, 2, sharey=True), (0.0, 0.5), strict=True):
        for memory, colour in zip(MEMORIES, colours, strict=True):
            means, errors = zip(*found[memory, shared], strict=True)
            axes.errorbar(options.pairs, means, errors, color=colour, linewidth=1.7, capsize=2, label=memory)
        axes.set_title(
            f"Keys that share {shared:.0%}" if shared else "Keys that share nothing", loc="left", fontsize=10.5
        )
        axes.set_xlabel(f"pairs written, for {D} dimensions of a key")
        axes.grid(color="#EBEBEB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("recalled")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(options.figure, dpi=120)
    print(f"wrote {options.figure}")


if __name__ == "__main__":
    main()
