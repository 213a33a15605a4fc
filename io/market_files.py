"""Matrix Market, read with care: what a header announces is held against what the file holds before it is believed.

The parser is SciPy's. It allocates what the header announces and reads of each line as much as it understands; so the
header is read here, and the text looked through once for what could not be a number.

Source: Boisvert, Pozo & Remington, The Matrix Market exchange formats, NISTIR 5935, 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sparse

from ..errors import InputError

__all__ = ["read_market"]

NUMBERS = {"pattern": 0, "real": 1, "double": 1, "integer": 1, "unsigned-integer": 1, "complex": 2}
SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")
LONGEST = 1 << 16  # bytes of a line of the header
CHUNK = 1 << 20
# What stands in numbers, in "nan" and "infinity" in any case, and between them.
KNOWN = b"0123456789+-.eE \t\r\nnaiftyNAIFTY"


@dataclass(frozen=True)
class Header:
    """The first lines of a file; ``entries`` is the number of lines that have to follow."""

    layout: str
    field: str
    symmetry: str
    rows: int
    columns: int
    entries: int

    def text(self, lines: int) -> bytes:
        """For the parser, in so many lines: as general and real where what these change is done here."""
        coordinate = self.layout == "coordinate"
        symmetry = "general" if coordinate else self.symmetry
        # An integer field is read as real, or whatever follows the first non-digit would be dropped.
        field = "real" if NUMBERS[self.field] == 1 else self.field
        sizes = (self.rows, self.columns, self.entries) if coordinate else (self.rows, self.columns)
        comments = "%\n" * (lines - 2)
        return (
            f"%%MatrixMarket matrix {self.layout} {field} {symmetry}\n{comments}{' '.join(map(str, sizes))}\n".encode()
        )


def read_market(stream: BinaryIO, rows: int = 0) -> Any:
    """A matrix from the text of a Matrix Market file.

    Parameters
    ----------
    stream : binary stream
        At the beginning of the text; can be rewound.
    rows : int
        That many rows are taken whatever the length of the text.

    Returns
    -------
    scipy.sparse.coo_array or numpy.ndarray, (m, n)

    Raises
    ------
    InputError
        Where the text is not what its header says. More rows or columns than the text has bytes are refused too:
        nearly all of them would be empty.
    """
    header = _header(stream)
    start = stream.tell()
    _check_first_entry(stream, header)
    stream.seek(0)
    above = stream.read(start).count(b"\n")  # lines
    size, lines = _looked_through(stream, above)
    size += start
    if header.entries > lines:
        raise InputError(f"announces {header.entries} entries, and {lines} lines follow")
    if header.layout == "coordinate":
        for count, what, limit in ((header.rows, "rows", max(size, rows)), (header.columns, "columns", size)):
            if count > limit:
                raise InputError(f"announces {count} {what} in {size} bytes, of which nearly all would be empty")
    if 0 in (header.rows, header.columns):
        shape = (header.rows, header.columns)
        return sparse.coo_array(shape) if header.layout == "coordinate" else np.zeros(shape)
    from scipy.io import mmread

    stream.seek(start)
    found = mmread(_Joined(header.text(above), stream), spmatrix=False)
    return _mirrored(found, header.symmetry) if header.layout == "coordinate" else found


def _header(stream: BinaryIO) -> Header:
    banner = stream.readline(LONGEST).decode("ascii", "replace").lower().split()
    if len(banner) != 5 or banner[:2] != ["%%matrixmarket", "matrix"]:
        raise InputError(f"begins with {' '.join(banner)[:80]!r}; wanted %%MatrixMarket matrix LAYOUT FIELD SYMMETRY")
    layout, field, symmetry = banner[2:]
    for found, known in ((layout, ("coordinate", "array")), (field, tuple(NUMBERS)), (symmetry, SYMMETRIES)):
        if found not in known:
            raise InputError(f"its header names {found!r}; wanted one of {', '.join(known)}")
    if layout == "array" and field == "pattern":
        raise InputError("its header names an array that is a pattern, which has no entries; wanted coordinates")
    words = _next_line(stream)
    wanted = 3 if layout == "coordinate" else 2
    # 18 digits fit the parser's integers.
    if len(words) != wanted or not all(word.isdigit() and len(word) <= 18 for word in words):
        raise InputError(f"its sizes are {' '.join(words)[:80]!r}; wanted {wanted} whole numbers")
    rows, columns, *rest = map(int, words)
    if symmetry != "general" and rows != columns:
        raise InputError(f"is {symmetry}, and {rows} x {columns}; wanted a square matrix")
    if layout == "coordinate":
        return Header(layout, field, symmetry, rows, columns, rest[0])
    triangle = {"general": rows * columns, "skew-symmetric": rows * (rows - 1) // 2}
    return Header(layout, field, symmetry, rows, columns, triangle.get(symmetry, rows * (rows + 1) // 2))


def _next_line(stream: BinaryIO) -> list[str]:
    """The words of the next line that is neither empty nor a comment; none at the end."""
    while line := stream.readline(LONGEST):
        words = line.decode("ascii", "replace").split()
        while words and words[0].startswith("%") and line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST)  # the rest of a long comment
        if words and not words[0].startswith("%"):
            return words
    return []


def _check_first_entry(stream: BinaryIO, header: Header) -> None:
    """Whether the first entry has as many numbers as the header says: a real matrix with two is complex."""
    words = _next_line(stream) if header.entries else []
    if not words:
        return
    wanted = NUMBERS[header.field] + (2 if header.layout == "coordinate" else 0)
    if len(words) != wanted:
        raise InputError(
            f"its first entry is {' '.join(words)[:80]!r}; wanted {wanted} numbers, {header.layout} {header.field}"
        )


def _looked_through(stream: BinaryIO, above: int) -> tuple[int, int]:
    """Bytes and lines that are left below some, none of which holds a character that stands in no number."""
    size, lines, last = 0, 0, b"\n"
    while chunk := stream.read(CHUNK):
        strange = chunk.translate(None, KNOWN)
        if strange:
            line = above + lines + chunk[: chunk.index(strange[:1])].count(b"\n") + 1
            raise InputError(f"line {line} holds {strange[:1].decode('latin-1')!r}, which stands in no number")
        size, lines, last = size + len(chunk), lines + chunk.count(b"\n"), chunk[-1:]
    return size, lines + (last != b"\n")


def _mirrored(A: Any, symmetry: str) -> Any:
    """With the other triangle, where a file holds one of them."""
    i, j = A.coords
    if symmetry == "general":
        return A
    above, below = i < j, i > j
    if above.any() and below.any():
        raise InputError(f"is {symmetry}, but has entries on both sides of the diagonal; wanted one triangle")
    if symmetry == "skew-symmetric" and A.data[i == j].any():
        raise InputError("is skew-symmetric, but has a diagonal that is not zero")
    off = above | below
    mirror = {"symmetric": A.data, "skew-symmetric": -A.data, "hermitian": A.data.conj()}[symmetry][off]
    both = (np.concatenate([i, j[off]]), np.concatenate([j, i[off]]))
    return sparse.coo_array((np.concatenate([A.data, mirror]), both), shape=A.shape)


class _Joined:
    """A stream with something before it."""

    def __init__(self, before: bytes, stream: BinaryIO) -> None:
        self.before, self.stream = before, stream

    def read(self, size: int = -1) -> bytes:
        if not self.before:
            return self.stream.read(size)
        part, self.before = (self.before, b"") if size < 0 else (self.before[:size], self.before[size:])
        return part
