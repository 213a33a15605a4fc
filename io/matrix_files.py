"""Matrices and vectors in files: Matrix Market, plain or gzipped, and NumPy's and SciPy's own formats."""

from __future__ import annotations

import contextlib
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ..errors import InputError

__all__ = ["check_writable", "read_matrix", "read_vector", "write_matrix", "write_vector"]

MARKET = (".mtx", ".mtx.gz")
READ = "Matrix Market (.mtx, .mtx.gz), .npz or .npy"


def read_matrix(path: str | os.PathLike[str]) -> Any:
    """A matrix from a file.

    Parameters
    ----------
    path : path
        Matrix Market, plain or gzipped; .npz as ``scipy.sparse.save_npz`` writes it; .npy for a dense matrix.

    Returns
    -------
    scipy.sparse.csr_array or numpy.ndarray, (m, n)

    Raises
    ------
    OSError
        If the file cannot be opened.
    InputError
        If its content is not a matrix.
    """
    path = _existing(path)
    found = _read(path)
    if sparse.issparse(found):
        return sparse.csr_array(found)
    if found.ndim != 2:
        raise InputError(f"{path}: found an array of shape {found.shape}; wanted a matrix")
    return found


def read_vector(path: str | os.PathLike[str]) -> np.ndarray:
    """A right-hand side from a file: (n,), or (n, k) where the file holds several columns.

    Parameters
    ----------
    path : path
        As in ``read_matrix``.

    Raises
    ------
    OSError, InputError
        As in ``read_matrix``.
    """
    path = _existing(path)
    found = _read(path)
    dense = np.asarray(found.toarray() if sparse.issparse(found) else found)
    if dense.ndim not in (1, 2):
        raise InputError(f"{path}: found an array of shape {dense.shape}; wanted a vector or its columns")
    return dense[:, 0] if dense.ndim == 2 and dense.shape[1] == 1 else dense


def write_matrix(path: str | os.PathLike[str], A: Any, comment: str = "") -> None:
    """Write a matrix so that reading gives the same bits.

    Parameters
    ----------
    path : path
        .mtx, .mtx.gz, .npz (sparse) or .npy (dense).
    A : sparse or dense matrix, (m, n)
    comment : str
        Stands in the header of a Matrix Market file.

    Raises
    ------
    OSError
        If the file cannot be written.
    InputError
        For another suffix.
    """
    path = Path(path)
    kind = _suffix(path)
    if kind == ".npz":
        sparse.save_npz(path, sparse.csr_array(A))
    elif kind == ".npy":
        np.save(path, A.toarray() if sparse.issparse(A) else np.asarray(A))
    elif kind in MARKET:
        _write_market(path, A, comment)
    else:
        raise InputError(f"{path}: is not a name for a matrix; wanted one that ends in .mtx, .mtx.gz, .npz or .npy")


def write_vector(path: str | os.PathLike[str], x: Any, comment: str = "") -> None:
    """Write a vector, (n,), or columns, (n, k), densely: .mtx, .mtx.gz or .npy.

    Parameters
    ----------
    path : path
    x : array_like
    comment : str
        Stands in the header of a Matrix Market file.

    Raises
    ------
    OSError, InputError
        As in ``write_matrix``.
    """
    path, x = Path(path), np.asarray(x)
    kind = _suffix(path)
    if kind == ".npy":
        np.save(path, x)
    elif kind in MARKET:
        _write_market(path, x.reshape(-1, 1) if x.ndim == 1 else x, comment)
    else:
        raise InputError(f"{path}: is not a name for a vector; wanted one that ends in .mtx, .mtx.gz or .npy")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before the work whether its result can be written.

    Raises
    ------
    OSError
        With the path and what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; wanted a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the directory {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path}: cannot be written to")


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; wanted a file: {READ}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".mtx.gz" if name.endswith(".mtx.gz") else path.suffix.lower()


def _read(path: Path) -> Any:
    kind = _suffix(path)
    if kind not in (*MARKET, ".npz", ".npy"):
        raise InputError(f"{path}: is not a name this can read; wanted {READ}")
    try:
        if kind in (".npy", ".npz"):
            found = _from_numpy(path)
        else:
            from scipy.io import mmread

            found = mmread(path)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # broken files make parsers and decompressors raise nearly anything
        if kind in MARKET:
            raise InputError(f"{path}: cannot be read as Matrix Market ({error or type(error).__name__})") from error
        # NumPy's own words advise unpickling, which runs whatever the file says.
        raise InputError(f"{path}: is not a {kind} file, or is damaged, or holds Python objects") from error
    if not sparse.issparse(found) and found.dtype.kind not in "biufc":
        raise InputError(f"{path}: holds {found.dtype}, which are not numbers")
    return found


def _from_numpy(path: Path) -> Any:
    """An array, the one array of an archive, or the matrix that ``scipy.sparse.save_npz`` put into one."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as archive:
        names = archive.files
        if "format" not in names:
            if len(names) != 1:
                raise InputError(f"{path}: holds {len(names)} arrays ({', '.join(names)}); wanted one, or a matrix")
            return archive[names[0]]
    return sparse.load_npz(path)


def _write_market(path: Path, A: Any, comment: str) -> None:
    from scipy.io import mmwrite

    matrix = sparse.coo_array(A) if sparse.issparse(A) else np.asarray(A)
    # A stream, since mmwrite would append .mtx to a path that ends otherwise, such as in .MTX.
    with contextlib.ExitStack() as stack:
        stream: Any = stack.enter_context(path.open("wb"))
        if _suffix(path) == ".mtx.gz":
            stream = stack.enter_context(gzip.GzipFile(path.stem, "wb", fileobj=stream, mtime=0))
        mmwrite(stream, matrix, comment=comment)
