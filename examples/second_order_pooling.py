"""Tell textures apart by how their channels vary together, which means do not see.

Every texture is noise of mean zero, mixed into channels by a matrix of its own kind; the kinds have equal variances and
differ in correlations alone. Two networks of equal size are trained, one that pools means of features and one that
pools the square root of their covariance, both on whitened features.

    python examples/second_order_pooling.py [--steps 150] [--seed 0]

Ten seconds or so.
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from resolvent.layers import CovariancePooling, Whitening

KINDS, CHANNELS, SIZE, FEATURES = 4, 6, 8, 8


def mixings(generator):
    """One matrix a kind, whose rows have unit length: every channel has variance one."""
    M = torch.randn(KINDS, CHANNELS, CHANNELS, generator=generator)
    return M / M.norm(dim=2, keepdim=True)


def textures(count, mixing, generator):
    """Images (count, CHANNELS, SIZE, SIZE) and their kinds."""
    kinds = torch.randint(KINDS, (count,), generator=generator)
    noise = torch.randn(count, CHANNELS, SIZE, SIZE, generator=generator)
    return torch.einsum("nij,njhw->nihw", mixing[kinds], noise), kinds


def network(pooling, width):
    """A projection onto features, which are whitened and pooled."""
    return nn.Sequential(
        nn.Conv2d(CHANNELS, FEATURES, 1), Whitening(FEATURES, ridge=1e-2), pooling, nn.Linear(width, KINDS)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(options.seed)
    mixing = mixings(generator)
    tests = textures(512, mixing, torch.Generator().manual_seed(options.seed + 1))
    torch.manual_seed(options.seed)
    poolings = {
        "means": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), FEATURES),
        "covariances": (CovariancePooling(), FEATURES * (FEATURES + 1) // 2),
    }
    print(f"  {'pooling':12}  step    loss   right")
    for name, (pooling, width) in poolings.items():
        model = network(pooling, width)
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        for step in range(options.steps + 1):
            if step % max(options.steps // 3, 1) == 0:
                report(name, step, model, tests)
            if step == options.steps:
                break
            x, kinds = textures(64, mixing, generator)
            loss = cross_entropy(model(x), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def report(name, step, model, tests):
    """One line: loss and accuracy on textures never trained on, whitened by running statistics."""
    x, kinds = tests
    model.eval()
    logits = model(x)
    model.train()
    right = (logits.argmax(1) == kinds).float().mean()
    print(f"  {name:12}  {step:4d}  {cross_entropy(logits, kinds):6.3f}  {right:6.1%}")


if __name__ == "__main__":
    main()
