"""The inverses of the blocks along the diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse

from ...errors import InputError, SingularError
from ...naming import refusing_other_names
from ...operators import as_operator
from .base import GivenPreconditioner

__all__ = ["block_jacobi"]


@refusing_other_names
def block_jacobi(A: Any, block_size: int = 4, *, backend: Any = None) -> GivenPreconditioner:
    """The block Jacobi preconditioner: the inverse of the blocks along the diagonal of A.

    For unknowns that come in groups, such as the displacements of a node: each group is solved exactly.

    Parameters
    ----------
    A : matrix with entries at hand, (n, n)
    block_size : int
        Rows to a block; the last one has what is left.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    GivenPreconditioner
        Hermitian positive definite where A is. ``block_size * n`` entries kept; an application is a product with them.

    Raises
    ------
    InputError
        For a matrix-free A, and a block size below 1.
    SingularError
        Where a block is singular.

    References
    ----------
    Saad (2003), "Iterative methods for sparse linear systems", section 10.2 and 12.2.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.kron(np.eye(3), [[2.0, 1.0], [1.0, 2.0]])
    >>> rv.cg(A, np.arange(6.0), M=rv.precondition.block_jacobi(A, 2), rtol=1e-12).iterations
    1
    """
    from ...backends import choose_backend

    if not isinstance(block_size, (int, np.integer)) or isinstance(block_size, bool) or block_size < 1:
        raise InputError(f"block_size: found {block_size!r}; wanted an integer of at least 1")
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    operator.diagonal()
    matrix = sparse.coo_array(operator.tocsr())
    n, size = matrix.shape[0], int(block_size)
    inside = matrix.row // size == matrix.col // size
    row, col = matrix.row[inside], matrix.col[inside]
    blocks = np.zeros((-(-n // size), size, size), np.result_type(matrix.dtype, np.float64))
    blocks[row // size, row % size, col % size] = matrix.data[inside]
    past = np.arange(n, blocks.shape[0] * size)  # of the last block
    blocks[past // size, past % size, past % size] = 1
    try:
        inverses = np.linalg.inv(blocks)
    except np.linalg.LinAlgError:
        at = int(np.argmin(np.linalg.matrix_rank(blocks, hermitian=False) == size))
        raise SingularError(
            f"A: the block of rows {at * size} to {min(n, (at + 1) * size) - 1} is singular; choose another block_size"
        ) from None
    number, i, j = np.indices(blocks.shape)
    rows, columns = (number * size + i).ravel(), (number * size + j).ravel()
    kept = (rows < n) & (columns < n)
    entries = sparse.csr_array(
        (inverses.ravel()[kept].astype(operator.dtype), (rows[kept], columns[kept])), shape=(n, n)
    )
    entries.sort_indices()
    if operator.library == "numpy":
        return GivenPreconditioner(as_operator(entries))
    indptr, indices, data = (
        chosen.from_numpy(part, part.dtype) for part in (entries.indptr, entries.indices, entries.data)
    )
    stored = chosen.compressed_rows(indptr, indices, data, entries.shape)
    if stored is None:  # as A is full there, M may be
        stored = chosen.from_numpy(entries.toarray(), entries.dtype)
    return GivenPreconditioner(chosen.operator(stored))
