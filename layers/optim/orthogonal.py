"""Nearly orthogonal matrices by a fixed schedule, many at a time: what Muon makes of momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...backends import choose_backend
from ...naming import choice
from ...solvers.matrix_functions.factors import degree_17_factors
from ...solvers.matrix_functions.polynomial import odd_step
from ...solvers.matrix_functions.products import products_for
from ...solvers.matrix_functions.scaling import by_columns

__all__ = ["SCALINGS", "orthogonal", "orthogonalized"]

SCALINGS = ("frobenius", "schatten-4", "aol")
# Bytes of a stack that is iterated at once on a CPU: it should stay in the cache from one product to the next.
CACHED = 1 << 22

Steps = Sequence[Sequence[float]]


def orthogonalized(
    matrices: Sequence[torch.Tensor], steps: Steps, *, scaling: str, eps: float, dtype: torch.dtype
) -> list[torch.Tensor]:
    """``orthogonal`` of each of many stacks, those of one shape together, transposed ones among them.

    Parameters
    ----------
    matrices : sequence of tensors of shape (..., m, n)
    steps : sequence of sequences of float
    scaling, eps :
        See ``orthogonal``.
    dtype : torch.dtype
        In which to iterate.

    Returns
    -------
    list of tensors of shape (..., m, n)
        Of this dtype, views of the stacks.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.optim.orthogonal import orthogonalized
    >>> found = orthogonalized([torch.ones(1, 2), 3 * torch.ones(2, 1)], [(1.875, -1.25, 0.375)],
    ...                        scaling="frobenius", eps=1e-7, dtype=torch.float64)
    >>> [m.round(decimals=4).tolist() for m in found]
    [[[0.7071, 0.7071]], [[0.7071], [0.7071]]]
    """
    found: list[Any] = [None] * len(matrices)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, M in enumerate(matrices):
        alike.setdefault((*sorted(M.shape[-2:]), M.device), []).append(i)
    for (short, long, device), members in alike.items():
        while members:
            size = short * long * torch.finfo(dtype).bits // 8
            together, members = _first(members, matrices, max(CACHED // max(size, 1), 2), device.type == "cpu")
            counts = [matrices[i].shape[:-2].numel() for i in together]
            X = torch.empty((sum(counts), long, short), dtype=dtype, device=device)
            parts = X.split(counts)
            for i, part in zip(together, parts, strict=True):
                M = matrices[i].reshape(-1, *matrices[i].shape[-2:])
                part.copy_(M.mT if M.shape[-2] < M.shape[-1] else M)
            for i, part in zip(together, orthogonal(X, steps, scaling=scaling, eps=eps).split(counts), strict=True):
                shape = matrices[i].shape
                found[i] = (part.mT if shape[-2] < shape[-1] else part).reshape(shape)
    return found


def _first(
    members: list[int], matrices: Sequence[torch.Tensor], most: int, limited: bool
) -> tuple[list[int], list[int]]:
    """As many of them as have at most so many matrices in all, one at least, and the others."""
    if not limited:
        return members, []
    count, taken = 0, 0
    for i in members:
        count += matrices[i].shape[:-2].numel()
        if taken and count > most:
            break
        taken += 1
    return members[:taken], members[taken:]


def orthogonal(X: torch.Tensor, steps: Steps, *, scaling: str = "frobenius", eps: float = 1e-7) -> torch.Tensor:
    """X <- X h(X^T X) for each polynomial h of a schedule: nothing is measured, and nothing waits for the device.

    Parameters
    ----------
    X : tensor of shape (k, m, n), m >= n
        Overwritten. Matrices that are zero stay so.
    steps : sequence of sequences of float
        Coefficients c of x (c[0] + c[1] x^2 + c[2] x^4 + ...), as of ``Schedule.coefficients``.
    scaling : {"frobenius", "schatten-4", "aol"}
        By which bound of its largest singular value a matrix is divided: its Frobenius norm; ||X^T X||_F^(1/2), which
        is tighter; or, column by column, the bound of Prach and Lampert (2022), which is tighter still and changes the
        directions: what is found then is near to an orthogonal matrix, but not to the nearest one.
    eps : float
        Norms are at least this.

    Notes
    -----
    Products of two matrices as of ``Schedule.products``. No single step is longer than (2 m n^2) for its Gram matrix,
    and as much for X h. The same iteration as that of ``rv.orthogonalize``, which measures what it does.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.optim.orthogonal import orthogonal
    >>> orthogonal(torch.tensor([[[3.0], [4.0]]]), [(1.5, -0.5)])
    tensor([[[0.6000],
             [0.8000]]])
    """
    scaling = choice("scaling", scaling, SCALINGS)
    products = products_for(choose_backend("torch", X), X)
    whole = products.orthogonal(X, steps, scaling, eps)
    if whole is not None:
        return whole
    # Into the range of its dtype first: norms and Gram matrices are of squares.
    tiny = torch.finfo(X.dtype).tiny
    top = X.abs().amax((-2, -1), keepdim=True).clamp(min=tiny)
    X /= top
    wide = torch.promote_types(X.dtype, torch.float32)
    norm = torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True, dtype=wide)
    X /= torch.maximum(norm, eps / top.to(wide)).clamp(min=tiny).to(X.dtype)
    A = products.gram(X, None)
    if scaling == "schatten-4":
        bound = torch.linalg.vector_norm(A, dim=(-2, -1), keepdim=True).clamp(min=tiny)
        X /= bound.sqrt()
        A /= bound
    elif scaling == "aol":
        X, A = by_columns(products, X, A)
    for k, step in enumerate(steps):
        if k:
            A = products.gram(X, A)
        X = odd_step(products, X, A, step, factors=degree_17_factors(step) if len(step) == 9 else None)
    return X
