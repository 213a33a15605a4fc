"""What a memory of covariances is worth when the truth drifts: the delta rule, a regression and the Kalman filter.

A linear map wanders, w' = a w + noise with a = sqrt(1 - q), and is seen through y = w . x + noise of variance s for
random x in d dimensions. Each memory predicts y before it is told; its error is compared with that of the Kalman
filter, which knows everything. Of the delta rule the stationary error is known in closed form, and so is the best rate.

    python examples/drift.py [--tokens 2000] [--runs 6] [--seed 0] [--figure drift.png]

A minute on two cores.
"""

import argparse
import math
from pathlib import Path

import torch

from resolvent.layers.functional import chunk_gated_delta_rule, gated_kalmanet, kalman_filter


def delta_error(d, q, s, decay, rate):
    """The stationary squared error of the delta rule's weights, as a part of E |w|^2 = 1.

    Its step is w <- decay (w + rate x (y - w . x) / |x|^2).
    """
    a = math.sqrt(1 - q)
    c = (a * (decay - a) - q) / (1 - a * decay * (1 - rate / d))
    drift = (decay - a) ** 2 + 2 * decay * (decay - a) * (1 - rate / d) * c + q
    return (drift + (decay * rate) ** 2 * s / (d - 2)) / (1 - decay**2 * (1 - (2 * rate - rate**2) / d))


def best_rate(d, q, s):
    """The rate with the least error, for decay = a, which is the best of decays."""
    low, high = 0.0, 1.0  # the error falls and then rises in between; above 1 it only rises
    for _ in range(60):
        third = (high - low) / 3
        if delta_error(d, q, s, math.sqrt(1 - q), low + third) < delta_error(d, q, s, math.sqrt(1 - q), high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def walks(d, q, s, m, runs, tokens, seed):
    """Inputs (runs, tokens, d), what is seen (runs, tokens), what the truth says, and where to begin, (runs, 1, d, 1).

    A memory begins with the squared error m, so that it need not be waited for until it is stationary.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, truth = draw(runs, tokens, d), torch.empty(runs, tokens, dtype=torch.float64)
    w = draw(runs, d) / math.sqrt(d)
    start = w + math.sqrt(m / d) * draw(runs, d)
    for t in range(tokens):
        truth[:, t] = (w * x[:, t]).sum(1)
        w = math.sqrt(1 - q) * w + math.sqrt(q / d) * draw(runs, d)
    return x, truth + math.sqrt(s) * draw(runs, tokens), truth, start[:, None, :, None]


def mean(values):
    """Over the runs, with its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def error(memory, walk, left):
    """Mean squared error of predicting the truth in the second half of a walk.

    At each token the next input is asked for; ``left`` is what the drift leaves of the weights until then.
    """
    x, seen, truth, _ = walk
    following = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
    predicted = left * memory(following.unsqueeze(2), x.unsqueeze(2), seen[:, :, None, None])[0][:, :-1, 0, 0]
    return mean((predicted - truth[:, 1:])[:, x.shape[1] // 2 :].square().mean(1))


def steady(x, value):
    """A log decay that is the same at every token."""
    return torch.full((*x.shape[:2], 1), math.log(value), dtype=x.dtype)


def kalman(walk, q, s, m):
    """The error that the filter, which knows drift and noise, says itself it has of the weights."""
    x, seen, _, start = walk
    d = x.shape[2]
    P = m / d * torch.eye(d, dtype=x.dtype).expand(len(x), 1, d, d)
    known = {"noise": max(s, 1e-12), "process_noise": q / d, "initial_state": (start, P)}
    k, v = x.unsqueeze(2), seen[:, :, None, None]
    _, (_, P) = kalman_filter(k, k, v, steady(x, math.sqrt(1 - q)), **known, output_final_state=True)
    return mean((1 - q) * P.diagonal(dim1=-2, dim2=-1).sum((1, 2)) + q)


def delta(walk, q, rate):
    """The delta rule, whose keys have unit length: x and y are divided by |x|."""
    x, start = walk[0], walk[3]
    g, length = steady(x, math.sqrt(1 - q)), x.norm(dim=-1)[:, :, None, None]
    beta, how = torch.full_like(g, rate), {"scale": 1.0, "initial_state": start}

    def rule(question, k, v):
        return chunk_gated_delta_rule(question, k / length, v / length, g, beta, **how)

    return error(rule, walk, math.sqrt(1 - q))


def kalmanet(walk, q, window):
    """Gated KalmaNet: a regression on a window, with a ridge of 0.02 in proportion to the Gram matrix."""
    g = steady(walk[0], window)
    how = {"solver": "cg", "rtol": 1e-6, "scale": 1.0}
    return error(lambda *qkv: gated_kalmanet(*qkv, g, g, **how), walk, math.sqrt(1 - q))


WINDOWS = (0.85, 0.9, 0.93, 0.96, 0.98, 0.99)


def ratio(found, reference):
    """Of two errors, with its standard error."""
    (a, da), (b, db) = found, reference
    return a / b, a / b * math.hypot(da / a, db / b)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    options = parser.parse_args()
    d, ratios = options.dimension, {}
    print(f"d = {d}: squared error of the best delta rule, in closed form and found, and over the Kalman filter's")
    print("    drift qd   noise   best rate   closed form   found           over Kalman's")
    for drift in (0.01, 0.1, 1.0, 10.0):
        for s in (0.0, 0.1, 1.0):
            q = drift / d
            rate = best_rate(d, q, s)
            exact = delta_error(d, q, s, math.sqrt(1 - q), rate)
            walk = walks(d, q, s, exact, options.runs, options.tokens, options.seed)
            ratios[drift, s] = ratio((exact, 0.0), kalman(walk, q, s, exact))
            print(f"    {drift:8g}{s:8g}{rate:12.3f}{exact:14.4e}", end="   ")
            print("{:.4e}±{:.0e}   {:.3f}±{:.3f}".format(*delta(walk, q, rate), *ratios[drift, s]), flush=True)
    d = 16
    print(f"d = {d}, noise 0.1: best of each over the Kalman filter's")
    for drift in (0.1, 1.0):
        q = drift / d
        rate = best_rate(d, q, 0.1)
        exact = delta_error(d, q, 0.1, math.sqrt(1 - q), rate)
        walk = walks(d, q, 0.1, exact, options.runs, options.tokens, options.seed)
        reference = kalman(walk, q, 0.1, exact)
        found = {
            "delta rule": delta(walk, q, rate),
            "Gated KalmaNet": min(kalmanet(walk, q, window) for window in WINDOWS),
        }
        cells = ["{} {:.3f}±{:.3f}".format(name, *ratio(value, reference)) for name, value in found.items()]
        print(f"    qd = {drift:g}: " + ", ".join(cells), flush=True)
    if options.figure:
        draw(options, ratios)


def draw(options, ratios):
    """The error over the rate, in closed form, and the best one over the Kalman filter's."""
    from matplotlib.figure import Figure

    colours = {0.0: "#0072B2", 0.1: "#E69F00", 1.0: "#D55E00"}
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    d, q = options.dimension, 0.1 / options.dimension
    rates = [k / 50 for k in range(1, 100)]
    for s, colour in colours.items():
        left.plot(
            rates, [delta_error(d, q, s, math.sqrt(1 - q), rate) for rate in rates], color=colour, label=f"noise {s:g}"
        )
        drifts = sorted({drift for drift, _ in ratios})
        means, errors = zip(*(ratios[drift, s] for drift in drifts), strict=True)
        right.errorbar(drifts, means, errors, color=colour, marker="o", markersize=4, capsize=2)
    left.set_title("Error of the delta rule, closed form, qd = 0.1", loc="left", fontsize=10.5)
    left.set_xlabel("rate beta")
    left.set_yscale("log")
    right.set_title("Best delta rule over the Kalman filter", loc="left", fontsize=10.5)
    right.set_xlabel("drift qd")
    right.set_xscale("log")
    for axes in (left, right):
        axes.grid(color="#EBEBEB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9)
    figure.savefig(options.figure, dpi=120)
    print(f"wrote {options.figure}")


if __name__ == "__main__":
    main()
