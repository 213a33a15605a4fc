"""Matrices and vectors in files: Matrix Market, plain or compressed, and NumPy's and SciPy's own formats.

What a file is, its first bytes say, whatever it is called; only for writing does the name decide. No header is believed
before it is held against what the file holds, so that nothing is allocated but a fixed multiple of that.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import math
import os
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import scipy.sparse as sparse

from ..errors import InputError
from ..naming import nearest
from ..precision.sparse_arrays import csr_arrays
from .market_files import read_market
from .safe_writing import is_standard_output, writing

__all__ = ["is_standard_input", "read_matrix", "read_vector", "write_matrix", "write_vector"]

MARKET = (".mtx", ".mtx.gz")
READ = "Matrix Market (plain, .gz or .bz2), .npz or .npy"
DEFLATED = 1032  # bytes out of one, at most; RFC 1951


def is_standard_input(path: str | os.PathLike[str] | None) -> bool:
    """Whether a name means the standard input: ``-`` or ``/dev/stdin``."""
    return path is not None and os.fspath(path) in ("-", "/dev/stdin")


def read_matrix(path: str | os.PathLike[str]) -> Any:
    """A matrix from a file.

    Parameters
    ----------
    path : path
        Matrix Market, plain or compressed by gzip or bzip2; .npz as ``scipy.sparse.save_npz`` writes it; .npy for a
        dense matrix. ``-`` is the standard input; pipes are read to their end.

    Returns
    -------
    scipy.sparse.csr_array or numpy.ndarray, (m, n)

    Raises
    ------
    OSError
        If the file cannot be opened.
    InputError
        If its content is not a matrix, or not what its header announces. A sparse matrix with more rows or columns
        than the file, decompressed, has bytes is refused before anything is allocated for them: nearly all would be
        empty.
    """
    found = _read(path)
    if sparse.issparse(found):
        indptr, indices, data, _ = csr_arrays(found, _called(path), error=InputError)
        return sparse.csr_array((data, indices, indptr), shape=found.shape)
    if found.ndim != 2:
        raise InputError(f"{_called(path)}: found an array of shape {found.shape}; wanted a matrix")
    return found


def read_vector(path: str | os.PathLike[str], rows: int = 0) -> np.ndarray:
    """A right-hand side from a file: (n,), or (n, k) where the file holds several columns.

    Parameters
    ----------
    path : path
        As in ``read_matrix``.
    rows : int
        What the matrix has. A sparse vector of that length is taken however few its entries are.

    Raises
    ------
    OSError, InputError
        As in ``read_matrix``.
    """
    found = _read(path, rows)
    if sparse.issparse(found):
        if found.shape[1] > max(found.nnz, 1):
            raise InputError(f"{_called(path)}: announces {found.shape[1]} columns and holds {found.nnz} entries")
        indptr, indices, data, _ = csr_arrays(found, _called(path), error=InputError)
        found = sparse.csr_array((data, indices, indptr), shape=found.shape).toarray()
    if found.ndim not in (1, 2):
        raise InputError(f"{_called(path)}: found an array of shape {found.shape}; wanted a vector or its columns")
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """An array of any shape from a file: of .npy that which was saved, otherwise a vector as ``read_vector`` reads it.

    Parameters
    ----------
    path : path
        As in ``read_matrix``.

    Raises
    ------
    OSError, InputError
        As in ``read_matrix``.
    """
    return read_vector(path) if sparse.issparse(found := _read(path)) else found


def write_matrix(path: str | os.PathLike[str], A: Any, comment: str = "") -> None:
    """Write a matrix so that reading gives the same bits.

    Parameters
    ----------
    path : path
        .mtx, .mtx.gz, .npz (sparse) or .npy (dense); ``-`` for the standard output, as Matrix Market.
    A : sparse or dense matrix, (m, n)
    comment : str
        Stands in the header of a Matrix Market file.

    Raises
    ------
    OSError
        If the file cannot be written; what lay there is then untouched.
    InputError
        For another suffix.
    """
    kind = written_kind(path, "matrix")
    with writing(path) as stream:
        if kind == ".npz":
            sparse.save_npz(stream, sparse.csr_array(A))
        elif kind == ".npy":
            np.save(stream, A.toarray() if sparse.issparse(A) else np.asarray(A))
        else:
            _write_market(stream, kind, sparse.coo_array(A) if sparse.issparse(A) else np.asarray(A), comment)


def write_vector(path: str | os.PathLike[str], x: Any, comment: str = "") -> None:
    """Write a vector, (n,), or columns, (n, k), densely: .mtx, .mtx.gz or .npy; ``-`` as in ``write_matrix``.

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
    x = np.asarray(x)
    kind = written_kind(path, "vector")
    with writing(path) as stream:
        if kind == ".npy":
            np.save(stream, x)
        else:
            _write_market(stream, kind, x.reshape(-1, 1) if x.ndim == 1 else x, comment)


def written_kind(path: str | os.PathLike[str], what: str) -> str:
    """How a matrix or a vector of that name is written, by its suffix.

    Raises
    ------
    InputError
        For another suffix.
    """
    kinds = (*MARKET, ".npz", ".npy") if what == "matrix" else (*MARKET, ".npy")
    if is_standard_output(path):
        return ".mtx"
    name = Path(path).name.lower()
    for kind in kinds:
        if name.endswith(kind):
            return kind
    raise InputError(
        f"{path}: is not a name for a {what}; wanted one that ends in {', '.join(kinds[:-1])} or {kinds[-1]}"
    )


def _called(path: str | os.PathLike[str]) -> str:
    return "standard input" if is_standard_input(path) else os.fspath(path)


def _beside(path: str | os.PathLike[str]) -> str:
    """The file in the same folder that may have been meant."""
    folder, name = os.path.split(os.fspath(path))
    try:
        there = os.listdir(folder or os.curdir)
    except OSError:
        return f"; there is no folder {folder}"
    near = nearest(name, there)
    return "" if near is None else f"; did you mean {os.path.join(folder, near)!r}?"


def _read(path: str | os.PathLike[str], rows: int = 0) -> Any:
    """What a file holds, of the shape that it has; a coo_array may have as many rows as asked for."""
    name = _called(path)
    if not is_standard_input(path):
        _check_file(Path(path))
    try:
        with _opened(path) as raw, _decompressed(raw) as stream:
            found = _content(stream, rows)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # broken files make parsers and decompressors raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, name) from error
        raise InputError(f"{name}: cannot be read ({error or type(error).__name__})") from error
    if not sparse.issparse(found) and found.dtype.kind not in "biufc":
        raise InputError(f"{name}: holds {found.dtype}, which are not numbers")
    return found


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; wanted a file: {READ}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file{_beside(path)}")
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{path}: is a device; wanted a file: {READ}")


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file as a stream that can be rewound; what comes through a pipe is read to its end for that."""
    if is_standard_input(path):
        yield io.BytesIO(sys.stdin.buffer.read())
        return
    with open(path, "rb") as stream:
        yield stream if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else io.BytesIO(stream.read())


def _decompressed(raw: BinaryIO) -> Any:
    first = raw.read(3)
    raw.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    return bz2.BZ2File(raw) if first == b"BZh" else contextlib.nullcontext(raw)


def _content(stream: BinaryIO, rows: int) -> Any:
    first = stream.read(16)
    stream.seek(0)
    if not first:
        raise InputError("is empty")
    if first[:14].lower() == b"%%matrixmarket":
        return read_market(stream, rows)
    if first.startswith(b"\x93NUMPY"):
        _check_array(stream, _length(stream))
        stream.seek(0)
        return np.load(stream, allow_pickle=False)
    if first.startswith(b"PK"):
        return _archived(stream, rows)
    raise InputError(f"begins with {first!r}, like none of the files this can read; wanted {READ}")


def _length(stream: BinaryIO) -> int:
    """Bytes in all; decompressors tell it by being read."""
    while stream.read(1 << 20):
        pass
    length = stream.tell()
    stream.seek(0)
    return length


def _check_array(stream: IO[bytes], length: int) -> None:
    """Hold the header of an array against the bytes there are for it."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"holds an array in version {version[0]}.{version[1]} of .npy; wanted an array of numbers")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise InputError("holds Python objects; wanted numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > length - stream.tell():
        raise InputError(f"announces an array of shape {shape} of {dtype}, and {length - stream.tell()} bytes follow")


def _archived(stream: BinaryIO, rows: int) -> Any:
    """The one array of an archive, or the matrix that ``scipy.sparse.save_npz`` put into one."""
    length = _length(stream)
    with zipfile.ZipFile(stream) as archive:
        parts = archive.infolist()
        packed = sum(part.compress_size for part in parts)
        size = sum(part.file_size for part in parts)
        if packed > length or size > DEFLATED * packed + length:
            raise InputError(f"announces {size} bytes in {packed}, and has {length}")
        for part in parts:
            with archive.open(part) as member:
                _check_array(member, part.file_size)
        names = [part.filename.removesuffix(".npy") for part in parts]
    stream.seek(0)
    if "format" not in names:
        if len(names) != 1:
            raise InputError(f"holds {len(names)} arrays ({', '.join(names)}); wanted one, or a matrix")
        with np.load(stream, allow_pickle=False) as archive:
            return archive[archive.files[0]]
    with np.load(stream, allow_pickle=False) as archive:
        shape = tuple(int(count) for count in np.ravel(archive["shape"]))
    if len(shape) != 2 or not 0 <= shape[0] <= max(size, rows) or not 0 <= shape[1] <= size:
        raise InputError(f"announces a matrix of shape {shape} in {size} bytes, of which nearly all would be empty")
    stream.seek(0)
    return sparse.load_npz(stream)


def _write_market(stream: BinaryIO, kind: str, matrix: Any, comment: str) -> None:
    from scipy.io import mmwrite

    with contextlib.ExitStack() as stack:
        packed: Any = stream
        if kind == ".mtx.gz":
            packed = stack.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0))
        mmwrite(packed, matrix, comment=comment)
