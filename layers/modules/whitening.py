"""Whitening: batch normalisation of all channels together, by the inverse square root of their covariance."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..matrix_functions.roots import invsqrtm
from ..tensors import check_width
from .covariance import checked_ridge, covariance, with_ridge, working

__all__ = ["Whitening"]


class Whitening(nn.Module):
    """Z (x - mean) with Z = covariance^(-1/2), the symmetric (ZCA) whitening of channels: the one nearest to x.

    As ``torch.nn.BatchNorm1d``, with covariances in place of variances: in training of the batch, over all places;
    in evaluation the running ones.

    Parameters
    ----------
    num_features : int
        C, the channels.
    ridge : float
        Added to the diagonal of covariances, times the mean variance: it bounds their condition number by C / ridge
        or so.
    momentum : float or None
        Of the running statistics; None for the mean of all batches.
    affine : bool
        Multiply channels by ``weight`` and add ``bias``, which begin as one and zero.
    track_running_stats : bool
        Otherwise statistics of the batch are used in evaluation too.
    method : str
        How derivatives are made, as in ``layers.invsqrtm``.
    rtol : float, optional
        As in ``layers.invsqrtm``.

    Attributes
    ----------
    running_mean, running_cov : Tensor, (C,) and (C, C)
        The running covariance is unbiased, as BatchNorm's variance is.

    Raises
    ------
    InputError, TypeError
        For parameters out of range, other numbers of channels, and training with one value a channel.
    SingularError
        Where all channels are constant.

    References
    ----------
    Huang, Yang, Lang and Deng, "Decorrelated batch normalization" (CVPR 2018).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import Whitening
    >>> x = torch.randn(200, 3) @ torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 1.0]])
    >>> y = Whitening(3, ridge=1e-6)(x)
    >>> torch.allclose(y.T.cov(correction=0), torch.eye(3), atol=1e-2)
    True
    """

    running_mean: torch.Tensor | None
    running_cov: torch.Tensor | None
    num_batches_tracked: torch.Tensor | None

    def __init__(
        self,
        num_features: int,
        *,
        ridge: float = 1e-3,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        method: str = "implicit",
        rtol: float | None = None,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise InputError(f"num_features: found {num_features}; wanted at least 1")
        if momentum is not None and not 0 <= momentum <= 1:
            raise InputError(f"momentum: found {momentum:g}; wanted a number from 0 to 1, or None")
        self.num_features, self.momentum = num_features, momentum
        self.ridge, self.method, self.rtol = checked_ridge(ridge, positive=True), method, rtol
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features) if tracked else None)
        self.register_buffer("running_cov", torch.eye(num_features) if tracked else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if tracked else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Whiten.

        Parameters
        ----------
        x : Tensor, (N, C) or (N, C, ...)
            Half precision is whitened in float32.

        Returns
        -------
        Tensor of the same shape and type
        """
        given, x = x, working(x)
        check_width(x, "x", self.num_features, "num_features", "N * ...")
        columns = x.movedim(1, 0).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            mean, cov = self._statistics(columns)
            Z = invsqrtm(with_ridge(cov, self.ridge), method=self.method, rtol=self.rtol)
            y = Z @ (columns - mean)
        y = y.unflatten(1, (x.shape[0], *x.shape[2:])).movedim(0, 1)
        if self.weight is not None and self.bias is not None:
            shape = (-1, *(1,) * (x.ndim - 2))
            y = y * self.weight.reshape(shape) + self.bias.reshape(shape)
        return y.to(given.dtype)

    def _statistics(self, columns: Any) -> tuple[Any, Any]:
        """The mean (C, 1) and the covariance to whiten by; those of a batch enter the running ones."""
        if not self.training and self.running_mean is not None and self.running_cov is not None:
            return self.running_mean[:, None].to(columns.dtype), self.running_cov.to(columns.dtype)
        count = columns.shape[1]
        if count < 2:
            raise InputError(f"x: found {count} value a channel; wanted at least 2, to have a covariance")
        mean, cov = covariance(columns)
        if self.training and self.running_mean is not None:
            self._track(mean.detach()[:, 0], cov.detach() * (count / (count - 1)))
        return mean, cov

    @torch.no_grad()
    def _track(self, mean: Any, cov: Any) -> None:
        assert self.running_mean is not None
        assert self.running_cov is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), part)
        self.running_cov.lerp_(cov.to(self.running_cov.dtype), part)

    def extra_repr(self) -> str:
        return f"{self.num_features}, ridge={self.ridge:g}, momentum={self.momentum}, method={self.method!r}"
