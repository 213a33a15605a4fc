"""An order of columns that keeps the factors of a sparse matrix sparse, and a bound of how many entries they have."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg

__all__ = ["column_order", "factor_entries"]


def column_order(A: Any) -> np.ndarray:
    """The columns of a square sparse A in approximate minimum degree order (COLAMD), for the pattern of A + I.

    SciPy has the order as a part of its factorisations. The one used is incomplete and drops everything, of a matrix of
    that pattern that is sure to have one.

    Examples
    --------
    >>> import scipy.sparse as sparse
    >>> from resolvent.operators.fill import column_order
    >>> sorted(column_order(sparse.eye_array(3, format="csr")).tolist())
    [0, 1, 2]
    """
    n = A.shape[0]
    A = A.tocsc()
    pattern = sparse.csc_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
    dominant = (pattern + 2.0 * n * sparse.eye_array(n)).tocsc()
    return scipy.sparse.linalg.spilu(dominant, drop_tol=1.0, fill_factor=1.0).perm_c.argsort()


def factor_entries(A: Any, order: np.ndarray) -> int:
    """No fewer entries than the factors of A with its columns in this order have, however its rows are exchanged.

    That is twice the entries of the Cholesky factor of A^H A (George & Ng 1985), for a square sparse A.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sparse
    >>> from resolvent.operators.fill import factor_entries
    >>> factor_entries(sparse.eye_array(5, format="csr"), np.arange(5))
    10
    """
    from .fill_kernels import column_counts

    rows = (abs(A) + sparse.eye_array(A.shape[0])).tocsr()[:, order]
    return 2 * int(column_counts(rows.indptr.astype(np.int64), rows.indices.astype(np.int64), A.shape[1]).sum())
