"""What a solve needs besides its system."""

from __future__ import annotations

import resolvent as rv

from . import comparisons
from .problems import poisson


class Peak:
    """Of the whole process, libraries and compiled code included: compare with ``peakmem_nothing``."""

    params = (["csr", "irregular", "stencil"],)
    param_names = ("storage",)

    def setup(self, storage: str) -> None:
        """The system; asv counts it too."""
        self.system = poisson(1_000_000, storage)

    def peakmem_nothing(self, storage: str) -> None:
        """The system alone."""

    def peakmem_cg(self, storage: str) -> None:
        """Twenty iterations of cg."""
        rv.cg(self.system.A, self.system.b, rtol=0.0, maxiter=20)


class Vectors:
    """Peak of what cg allocates through Python and NumPy besides the caller's A and b.

    Where Resolvent finds that a CSR matrix has few diagonals, those that it keeps (three of them here) count as well.
    Nothing that kernels allocate for themselves is seen: a few numbers for each block of rows.
    """

    params = (["csr", "irregular", "stencil"],)
    param_names = ("storage",)

    def track_cg_vectors(self, storage: str) -> float:
        """In vectors of length n."""
        return comparisons.cg_vectors(512**2, storage)

    track_cg_vectors.unit = "vectors"  # type: ignore[attr-defined]
