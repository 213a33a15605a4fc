"""Tensors with known spectra, and gradients at them."""

import torch


def drawn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def orthonormal(rows, columns, dtype=torch.float64, seed=0):
    return torch.linalg.qr(drawn(rows, columns, dtype=dtype, seed=seed))[0]


def with_eigenvalues(values, dtype=torch.float64, seed=0):
    """Hermitian, with these eigenvalues."""
    values = torch.as_tensor(values, dtype=torch.float64)
    V = orthonormal(len(values), len(values), dtype, seed)
    A = (V * values) @ V.mH
    return (A + A.mH) / 2


def with_singular_values(values, rows, columns, dtype=torch.float64, seed=0):
    values = torch.as_tensor(values, dtype=torch.float64)
    k = len(values)
    return (orthonormal(rows, k, dtype, seed) * values) @ orthonormal(columns, k, dtype, seed + 1).mH


def hermitian_part(A):
    return (A + A.mH) / 2


def definite(B):
    """Hermitian positive definite."""
    return B @ B.mH + torch.eye(B.shape[-2], dtype=B.dtype)


def gradient(function, A, G):
    """That of Re tr(G^H f(A))."""
    A = A.detach().clone().requires_grad_()
    return torch.autograd.grad(function(A), A, G)[0]


def off(found, wanted):
    """The relative error in the Frobenius norm."""
    return float(torch.linalg.norm(found - wanted) / torch.linalg.norm(wanted))
