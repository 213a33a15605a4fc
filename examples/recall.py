"""In-context recall of pairs whose keys resemble each other, by memories that differ in one operation.

A sequence shows keys with values, then asks for the values of the keys in another order. Keys are random vectors, and
half the squared length of each lies in a direction that all keys of the sequence share. It is another direction in
every sequence, so that no projection learnt beforehand takes it away; a regression on the keys of the sequence does.

All models have the same projections and gates, and start from the same weights. What is trained is one layer of

    softmax attention      keeps every token
    linear attention       a sum of outer products
    without regression     Gated KalmaNet with alpha = 0, which is gated linear attention
    DeltaNet               beta up to 2
    Gated KalmaNet         the regression, and how far it is trusted, alpha, learnt

    python examples/recall.py [--steps 300] [--pairs 32] [--seed 0] [--figure recall.png] [--csv recall.csv]

A minute or two on two cores.
"""

import argparse
import csv
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize, scaled_dot_product_attention

from resolvent.layers.functional import chunk_delta_rule, chunk_linear_attn, chunk_simple_gla, gated_kalmanet

D, VALUES, WIDTH = 32, 32, 64  # length of a key and of the layer's one head, symbols, width of the model
SHARED = 0.5  # of a key's squared length, in the direction of its sequence


def sequences(count, pairs, generator):
    """Keys (count, 2 pairs, D), values of which the second half is hidden, and what is hidden: shown, then asked."""

    def directions(*shape):
        return normalize(torch.randn(*shape, D, generator=generator), dim=-1)

    keys = SHARED**0.5 * directions(count, 1) + (1 - SHARED) ** 0.5 * directions(count, pairs)
    values = torch.randint(VALUES, (count, pairs), generator=generator)
    order = torch.rand(count, pairs, generator=generator).argsort(dim=1)
    asked = keys.gather(1, order.unsqueeze(2).expand(-1, -1, D))
    hidden = torch.full_like(values, VALUES)
    return torch.cat([keys, asked], 1), torch.cat([values, hidden], 1), values.gather(1, order)


def softmax_attention(q, k, v, beta, g, alpha):
    """Without gates, and with vectors as long as they come."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def linear_attention(q, k, v, beta, g, alpha):
    """Of unit vectors, without gates."""
    return chunk_linear_attn(normalize(q, dim=-1), normalize(k, dim=-1), v, normalize=False)[0]


def without_regression(q, k, v, beta, g, alpha):
    """What Gated KalmaNet is for alpha = 0; beta multiplies keys and values."""
    beta = beta.unsqueeze(3)
    return chunk_simple_gla(normalize(q, dim=-1), beta * normalize(k, dim=-1), beta * v, g)[0]


def delta_net(q, k, v, beta, g, alpha):
    """With eigenvalues from -1."""
    return chunk_delta_rule(normalize(q, dim=-1), normalize(k, dim=-1), v, 2 * beta)[0]


def kalmanet(q, k, v, beta, g, alpha):
    """The ridge is 0.02 times the norm of the Gram matrix."""
    q, k = normalize(q, dim=-1), normalize(k, dim=-1)
    return gated_kalmanet(q, k, v, g, g, alpha, beta, solver="cg", rtol=1e-4)[0]


MEMORIES = {
    "softmax attention": softmax_attention,
    "linear attention": linear_attention,
    "without regression": without_regression,
    "DeltaNet": delta_net,
    "Gated KalmaNet": kalmanet,
}


class Model(nn.Module):
    """Keys and values added up to tokens, one layer with a residual connection, and a projection onto values."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory
        self.keys, self.values = nn.Linear(D, WIDTH), nn.Embedding(VALUES + 1, WIDTH)
        self.before, self.within, self.after = nn.RMSNorm(WIDTH), nn.RMSNorm(D), nn.RMSNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, D, bias=False) for _ in range(3))
        self.gates, self.out, self.head = nn.Linear(WIDTH, 3), nn.Linear(D, WIDTH, bias=False), nn.Linear(WIDTH, VALUES)
        with torch.no_grad():
            self.keys.weight.mul_(1.7 * D**0.5)  # as long as the embedding of a value
            self.values.weight.mul_(0.7)
            self.q.weight.copy_(self.k.weight)  # a key asks for itself
            self.gates.bias[1] = 5.0  # little is forgotten

    def forward(self, keys, values):
        x = self.keys(keys) + self.values(values)
        read = self.read(self.before(x))
        return self.head(self.after(x + self.out(self.within(read))))

    def read(self, x):
        """What the memory says."""
        beta, g, alpha = self.gates(x).split(1, dim=-1)
        q, k, v = (project(x).unsqueeze(2) for project in (self.q, self.k, self.v))
        return self.memory(q, k, v, beta.sigmoid(), logsigmoid(g), alpha.sigmoid()).squeeze(2)

    @torch.no_grad()
    def trust(self, keys, values):
        """Mean alpha where a value is asked for."""
        x = self.before(self.keys(keys) + self.values(values))
        return float(self.gates(x[:, keys.shape[1] // 2 :])[..., 2].sigmoid().mean())


@torch.no_grad()
def recalled(model, pairs, seed):
    """Accuracy on sequences never trained on."""
    keys, values, wanted = sequences(256, pairs, torch.Generator().manual_seed(seed))
    return float((model(keys, values)[:, pairs:].argmax(-1) == wanted).float().mean())


def train(memory, options):
    """The model, and its accuracy with all pairs after each sixth of the steps; the pairs grow in number up to 60 %."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    model = Model(memory)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(options.steps, 20), pct_start=0.1)
    curve = []
    for step in range(options.steps):
        pairs = max(2, min(options.pairs, round(options.pairs * (step + 1) / (0.6 * options.steps))))
        keys, values, wanted = sequences(32, pairs, generator)
        loss = cross_entropy(model(keys, values)[:, pairs:].flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(options.steps // 6, 1) == 0:
            curve.append((step + 1, recalled(model, options.pairs, options.seed + 1)))
    return model, curve


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    parser.add_argument("--csv", type=Path, help="a file to write the table to")
    options = parser.parse_args()
    sizes = [max(options.pairs * part // 4, 1) for part in (1, 2, 3, 4, 6)]
    columns = [f"{size} pairs" for size in sizes]
    print(f"{'recalled of':20}" + "".join(f"{column:>11}" for column in columns) + f"{'seconds':>10}   trust")
    rows, curves = [], {}
    for name, memory in MEMORIES.items():
        start = time.perf_counter()
        model, curves[name] = train(memory, options)
        seconds = time.perf_counter() - start
        found = [recalled(model, size, options.seed + 2) for size in sizes]
        trust = ""
        if memory is kalmanet:
            keys, values, _ = sequences(256, options.pairs, torch.Generator().manual_seed(options.seed + 2))
            trust = f"{model.trust(keys, values):.2f}"
        print(f"{name:20}" + "".join(f"{value:>11.1%}" for value in found) + f"{seconds:>10.0f}   {trust}", flush=True)
        rows.append((name, *(f"{value:.3f}" for value in found)))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("memory", *columns), *rows])
    if options.figure:
        draw(curves, sizes, rows, options)


def draw(curves, sizes, rows, options):
    """Accuracy while it is learnt, and over the number of pairs."""
    from matplotlib.figure import Figure

    colours = ("#8C8C8C", "#56B4E9", "#E69F00", "#0072B2", "#D55E00")
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for (name, *found), colour in zip(rows, colours, strict=True):
        left.plot(*zip(*curves[name], strict=True), color=colour, linewidth=1.7, label=name)
        right.plot(sizes, [float(value) for value in found], color=colour, linewidth=1.7, marker="o", markersize=4)
    left.set_title(f"{options.pairs} pairs, while it is trained", loc="left", fontsize=10.5)
    left.set_xlabel("steps")
    left.set_ylabel("recalled")
    right.set_title(f"Trained on up to {options.pairs} pairs", loc="left", fontsize=10.5)
    right.set_xlabel(f"pairs, for {D} dimensions of a key")
    for axes in (left, right):
        axes.set_ylim(0, 1.02)
        axes.grid(color="#EBEBEB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    figure.savefig(options.figure, dpi=120)
    print(f"wrote {options.figure}")


if __name__ == "__main__":
    main()
