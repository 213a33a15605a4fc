"""Inputs of the tests of Gated KalmaNet, and the oracle."""

import pytest


@pytest.fixture
def draw():
    """Tokens as published tests draw them: q of unit length, k times a sigmoid, decays in [0.8, 0.99]."""
    torch = pytest.importorskip("torch")

    def drawn(batch=1, tokens=20, heads=2, D=8, V=8, seed=0, decay=(0.8, 0.99), dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(batch, tokens, heads, *shape, generator=generator, dtype=torch.float64)

        def uniform():
            return torch.rand(batch, tokens, heads, generator=generator, dtype=torch.float64)

        q = torch.nn.functional.normalize(normal(D), dim=-1)
        k = torch.nn.functional.normalize(normal(D), dim=-1) * torch.sigmoid(normal(1))
        g = (decay[0] + (decay[1] - decay[0]) * uniform()).log()
        gk = (decay[0] + (decay[1] - decay[0]) * uniform()).log()
        return [part.to(dtype) for part in (q, k, normal(V), g, gk, uniform())]

    return drawn


@pytest.fixture
def semidefinite():
    """Initial states: H of rank ``rank`` and any U."""
    torch = pytest.importorskip("torch")

    def drawn(sequences=1, heads=2, D=8, V=8, seed=1, rank=5, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        W = torch.randn(sequences, heads, D, rank, generator=generator, dtype=torch.float64)
        U = torch.randn(sequences, heads, D, V, generator=generator, dtype=torch.float64)
        return ((W @ W.mT) / D).to(dtype), U.to(dtype)

    return drawn
