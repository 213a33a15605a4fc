"""Second-order pooling: the square root of the covariance of channels instead of their means."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..matrix_functions.roots import sqrtm
from .covariance import checked_ridge, covariance, with_ridge, working

__all__ = ["CovariancePooling"]


class CovariancePooling(nn.Module):
    """The square root of the covariance of the channels over all places, as a vector.

    Parameters
    ----------
    ridge : float
        Added to the diagonal, times the mean variance. Without one, derivatives of covariances that lack rank, as of
        fewer places than channels, are those of ``singular="zero"``, which ignore directions of no variance.
    triangle : bool
        Return the upper triangle as a vector, with entries off the diagonal times the square root of 2, so that
        distances are those of matrices; otherwise the matrix.
    method : str
        How derivatives are made, as in ``layers.sqrtm``.
    rtol : float, optional
        As in ``layers.sqrtm``.

    Raises
    ------
    InputError, TypeError
        For a negative ridge, and inputs that are no batches of channels.

    Notes
    -----
    The root moderates large variances, as the logarithm would. Its gradient is that of the root, whatever the condition
    number, and not that of a truncated iteration for it.

    References
    ----------
    Li, Xie, Wang and Zuo, "Is second-order information helpful for large-scale visual recognition?" (ICCV 2017).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import CovariancePooling
    >>> x = torch.randn(2, 8, 5, 5)
    >>> CovariancePooling()(x).shape
    torch.Size([2, 36])
    >>> S = CovariancePooling(ridge=0, triangle=False)(x)
    >>> torch.allclose(S @ S, torch.stack([part.flatten(1).cov(correction=0) for part in x]), atol=1e-5)
    True
    """

    def __init__(
        self, *, ridge: float = 1e-3, triangle: bool = True, method: str = "implicit", rtol: float | None = None
    ) -> None:
        super().__init__()
        self.ridge = checked_ridge(ridge, positive=False)
        self.triangle, self.method, self.rtol = triangle, method, rtol

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool.

        Parameters
        ----------
        x : Tensor, (N, C, ...)
            Half precision is pooled in float32.

        Returns
        -------
        Tensor, (N, C (C + 1) / 2) or (N, C, C)
        """
        given, x = x, working(x)
        with torch.autocast(x.device.type, enabled=False):
            _, found = covariance(x.reshape(*x.shape[:2], -1))
            S = sqrtm(with_ridge(found, self.ridge), method=self.method, rtol=self.rtol, singular="zero")
        if self.triangle:
            rows, columns = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
            weights = torch.where(rows == columns, 1.0, math.sqrt(2)).to(S.dtype)
            S = S[:, rows, columns] * weights
        return S.to(given.dtype)

    def extra_repr(self) -> str:
        return f"ridge={self.ridge:g}, triangle={self.triangle}, method={self.method!r}"
