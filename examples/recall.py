"""Train two Gated KalmaNet layers on in-context recall, and see how well their regressions were solved.

A sequence shows keys and values, then asks for the values of the keys in another order. Nothing of it can be learnt by
heart: the pairs are new in every sequence, so they have to be kept in the layers' memory.

    python examples/recall.py [--steps 400] [--pairs 24] [--seed 0]

A minute or two on two cores.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from resolvent.layers import GatedKalmaNet

KEYS = VALUES = 32  # as many symbols each; values are numbered after keys


def sequences(count, pairs, generator):
    """Tokens (count, 4 * pairs) and targets of the same shape, -100 where nothing is asked."""
    keys = torch.stack([torch.randperm(KEYS, generator=generator)[:pairs] for _ in range(count)])
    values = KEYS + torch.randint(VALUES, (count, pairs), generator=generator)
    order = torch.stack([torch.randperm(pairs, generator=generator) for _ in range(count)])
    shown = torch.stack([keys, values], dim=2).flatten(1)
    asked = torch.stack([keys.gather(1, order), values.gather(1, order)], dim=2).flatten(1)
    tokens = torch.cat([shown, asked], dim=1)
    targets = torch.full_like(tokens, -100)
    targets[:, 2 * pairs :: 2] = asked[:, 1::2]
    return tokens, targets


class Model(nn.Module):
    """Embedding, layers with residual connections, and a projection onto symbols."""

    def __init__(self, width, heads, layers):
        super().__init__()
        self.embedding = nn.Embedding(KEYS + VALUES, width)
        self.layers = nn.ModuleList(
            GatedKalmaNet(hidden_size=width, head_dim=width // heads, num_heads=heads, layer_idx=i)
            for i in range(layers)
        )
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(layers + 1))
        self.head = nn.Linear(width, KEYS + VALUES, bias=False)

    def forward(self, tokens, return_info=False):
        x, infos = self.embedding(tokens), []
        for norm, layer in zip(self.norms, self.layers, strict=False):
            change, info, _ = layer(norm(x), return_info=return_info)
            x = x + change
            infos.append(info)
        return self.head(self.norms[-1](x)), infos


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    model = Model(width=64, heads=2, layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(options.steps, 20), pct_start=0.1)
    tests = sequences(256, options.pairs, torch.Generator().manual_seed(options.seed + 1))
    print("  step    loss   recall   worst residual   worst condition   steps of the solver   seconds")
    start = time.perf_counter()
    for step in range(options.steps + 1):
        if step % max(options.steps // 10, 1) == 0:
            report(model, step, tests, time.perf_counter() - start)
        if step == options.steps:
            break
        tokens, targets = sequences(32, options.pairs, generator)
        logits, _ = model(tokens)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def report(model, step, tests, seconds):
    """One line: loss and accuracy on sequences never trained on, and the worst of all regressions in them."""
    tokens, targets = tests
    logits, infos = model(tokens, return_info=True)
    asked = targets >= 0
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
    recall = (logits.argmax(-1)[asked] == targets[asked]).float().mean()
    residual = max(float(info.relative_residual.max()) for info in infos)
    condition = max(float(info.condition.max()) for info in infos)
    iterations = max(int(info.iterations.max()) for info in infos)
    print(f"  {step:4d}  {loss:6.3f}  {recall:6.1%}   {residual:14.1e}   {condition:15.1f}", end="   ")
    print(f"{iterations:19d}   {seconds:7.0f}")


if __name__ == "__main__":
    main()
