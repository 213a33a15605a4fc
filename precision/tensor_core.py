"""What a tensor core computes, bit for bit: block fused multiply-add (FMA) of NVIDIA's data-centre GPUs.

A tensor core adds a block of products and the accumulator at once. Each product a b is exact, with the exponent of a
plus that of b and a significand in [1, 4); all are aligned to the largest of these exponents and that of the
accumulator, cut off some bits below it, summed as integers, and the sum is rounded once: toward zero to float32, to
nearest even to fp16. The result is the accumulator of the next block. The order within a block does not matter; what
is cut off, and where blocks end, does.

Sources: Fasi, Higham, Mikaitis & Pranesh, Numerical behavior of NVIDIA tensor cores (PeerJ Computer Science 7:e330,
2021), who found these features by experiment; Khattak & Mikaitis, Accurate models of NVIDIA tensor cores
(arXiv:2512.07004, 2025), who measured block lengths and bits for the later GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..naming import choice
from .formats import FORMATS, Format, format_named, fp16, fp32
from .rounding import round as rounded_to

__all__ = ["TENSOR_CORES", "BlockFMA", "block_fma", "multiply_rows", "tensor_core_matmul"]


@dataclass(frozen=True)
class BlockFMA:
    """How one GPU multiplies matrices of one format.

    Parameters
    ----------
    input, output : str
        Formats of the factors, and of accumulator and result: "fp32" or "fp16".
    block : int
        Products that are summed at once, K.
    alignment_bits : int
        Bits kept below the 23 fraction bits of float32 when aligning; where negative, as many of those 23 are lost,
        in the result too.
    exponent_floor : int, optional
        The exponent that is aligned to is at least this.
    deferred : bool
        The products of 32 fp8 numbers are those of two blocks in fp16 arithmetic, one after the other from zero, to
        which the accumulator is added last, to nearest. The first block has the products k with k mod 4 < 2.
    """

    input: str
    output: str
    block: int
    alignment_bits: int
    exponent_floor: int | None = None
    deferred: bool = False

    @property
    def significand_bits(self) -> int:
        """Of the result."""
        return fp16.significand_bits if self.output == "fp16" else fp32.significand_bits + min(self.alignment_bits, 0)

    @property
    def padding(self) -> int:
        """A product over k terms takes as many as one over the next multiple of this, the rest being zeros."""
        return 2 * self.block if self.deferred else self.block

    @property
    def input_min_exponent(self) -> int:
        """Exponent of the smallest normal number, and of all subnormal ones, in the arithmetic of the products."""
        return fp16.min_exponent if self.deferred else format_named(self.input).min_exponent

    def parameters(self) -> Any:
        """The same for the kernels."""
        from .tensor_core_kernels import KernelParameters

        output = format_named(self.output)
        return KernelParameters(
            block=self.block,
            fraction_bits=23 + self.alignment_bits,
            # Without a floor, one below every exponent: that of float32's smallest number is -126 here.
            exponent_floor=-200 if self.exponent_floor is None else self.exponent_floor,
            input_min_exponent=self.input_min_exponent,
            significand_bits=self.significand_bits,
            min_exponent=output.min_exponent,
            max_exponent=output.max_exponent,
            nearest=self.output == "fp16",
            deferred=self.deferred,
        )


_FP8 = ("fp8_e4m3fn", "fp8_e5m2")
# devices, inputs, output, block, alignment bits, exponent floor, deferred
_ROWS: tuple[tuple[tuple[str, ...], tuple[str, ...], str, int, int, int | None, bool], ...] = (
    (("V100",), ("fp16",), "fp32", 4, 0, None, False),
    (("V100",), ("fp16",), "fp16", 4, 0, -19, False),
    (("A100", "A2", "A30", "L40S"), ("fp16", "bf16"), "fp32", 8, 1, -132, False),
    (("A100", "A2", "A30", "L40S"), ("tf32",), "fp32", 4, 1, -132, False),
    (("A100", "A2", "A30", "L40S"), ("fp16",), "fp16", 8, 1, -20, False),
    (("L40S",), _FP8, "fp32", 16, -10, -132, False),
    (("L40S",), _FP8, "fp16", 16, -10, -132, False),
    (("H100", "H200", "B200"), ("fp16", "bf16"), "fp32", 16, 2, -133, False),
    (("H100", "H200", "B200"), ("tf32",), "fp32", 8, 2, -133, False),
    (("H100", "H200", "B200"), ("fp16",), "fp16", 16, 2, -21, False),
    (("H100", "H200"), _FP8, "fp32", 32, -10, -133, False),
    (("B200",), _FP8, "fp32", 16, 2, -133, True),
    (("H100", "H200", "B200"), _FP8, "fp16", 16, 2, -21, True),
)


def _table() -> dict[str, dict[tuple[str, str], BlockFMA]]:
    table: dict[str, dict[tuple[str, str], BlockFMA]] = {}
    for devices, inputs, output, block, bits, floor, deferred in _ROWS:
        for device in devices:
            for name in inputs:
                table.setdefault(device, {})[name, output] = BlockFMA(name, output, block, bits, floor, deferred)
    return table


# By device, then by input and output format.
TENSOR_CORES = _table()


def block_fma(device: str, input: Any, output: str = "fp32") -> BlockFMA:
    """The row of the table of tensor cores for a device and its formats.

    Parameters
    ----------
    device : str
        One of V100, A100, A2, A30, L40S, H100, H200, B200.
    input : str or Format
        "bf16", "fp16", "tf32", "fp8_e4m3fn" or "fp8_e5m2", as far as the device has it.
    output : {"fp32", "fp16"}
        "fp16" for fp16 and fp8 only.

    Raises
    ------
    ValueError
        For a device that is not in the table, and for formats that it does not multiply.

    Examples
    --------
    >>> from resolvent.precision.tensor_core import block_fma
    >>> block_fma("A100", "bf16").block, block_fma("H100", "fp8_e5m2").significand_bits
    (8, 14)
    """
    rows = TENSOR_CORES[choice("device", device, TENSOR_CORES)]
    wanted, result = format_named(input), format_named(output)
    for row in rows.values():
        if format_named(row.input) == wanted and format_named(row.output) == result:
            return row
    offered = ", ".join(f"{name} to {to}" for name, to in rows)
    raise ValueError(f"input, output: the tensor cores of {device} do not multiply {wanted} to {result}; but {offered}")


def tensor_core_matmul(
    A: Any, B: Any, C: Any = None, *, device: str = "H100", input: Any = "bf16", output: str = "fp32"
) -> np.ndarray:
    """C + A B as the tensor cores of a GPU compute it, bit for bit.

    Parameters
    ----------
    A, B : array_like of shape (..., m, k) and (..., k, n), or (k,)
        Factors as for ``numpy.matmul``. float32 and float64 values, and integers, that are not numbers of ``input``
        are first rounded to it, once, to nearest even, and fp8 ones that are too large overflow as in
        ``resolvent.precision.round``. (GPUs cut the last bits of tf32 off instead; round with "toward-zero" before.)
    C : array_like, optional
        The accumulator; broadcast to the shape of the result, and rounded to ``output`` likewise. Zero by default.
    device : str
        V100, A100, A2, A30, L40S, H100, H200 or B200.
    input : str or Format
        "bf16", "fp16", "tf32", "fp8_e4m3fn" or "fp8_e5m2".
    output : {"fp32", "fp16"}
        Of accumulator and result; "fp16" for fp16 and fp8 factors only.

    Returns
    -------
    ndarray of float32
        Shape as of ``numpy.matmul``; a scalar for two vectors.

    Raises
    ------
    ValueError
        For a device without these formats, and for shapes that do not fit.
    TypeError
        For complex numbers and other things that are not real.

    Notes
    -----
    Blocks follow each other along k, from first to last, the accumulator being fed through them; a library that splits
    k over several accumulators gives other bits. Sums are infinite from 2**128 on (65520 in fp16), even though they
    are rounded toward zero. NaN, infinity times zero and opposite infinities give NaN, whose payload is not modelled;
    a sum that is zero is +0.

    Held against words that Khattak & Mikaitis recorded on V100, A100, A2, L40S, RTX 1000 Ada (as L40S), H100, H200 and
    B200, 5000 dot products for each of 48 pairs of GPU and formats: no bit differs. Those are of random numbers of
    ordinary size; the exponent floors, and the A30, are as published. The fp8 results of B200, and of H100 and H200
    with fp16 output, are those of the instruction mma.sync, which these GPUs carry out in fp16
    (``BlockFMA.deferred``); those of H100 and H200 with fp32 output are of wgmma, recorded with C = 0.

    Cost on one core: 0.3 ns for each of the m k n products of matrices, 5 ns where one factor is a vector.

    Examples
    --------
    An H100 adds 16 products at once and keeps 25 fraction bits of each below the largest: a quarter of an ulp of 1
    counts, an eighth does not. The result is cut off, not rounded.

    >>> import numpy as np
    >>> from resolvent.precision import tensor_core_matmul
    >>> a = np.array([1, 2.0**-25, 2.0**-25, 2.0**-25, 2.0**-25])
    >>> ones = np.ones(5)
    >>> [float(tensor_core_matmul(a, ones, device=device) - 1) * 2.0**23 for device in ("A100", "H100")]
    [0.0, 1.0]
    """
    fma = block_fma(device, input, output)
    A, B = _carried(A, "A", fma.input), _carried(B, "B", fma.input)
    shape = _result_shape(A.shape, B.shape)
    result = np.zeros(shape, np.float32)
    if C is not None:
        C = _carried(C, "C", fma.output)
        try:
            result[...] = np.broadcast_to(C, shape)
        except ValueError:
            raise ValueError(f"C: found shape {C.shape}; wanted one that broadcasts to {shape}") from None
    if result.size == 0 or A.shape[-1] == 0:
        return result[()]
    rows, columns = np.atleast_2d(A), B if B.ndim > 1 else B[:, np.newaxis]
    batch = shape[: len(shape) - (A.ndim > 1) - (B.ndim > 1)]
    matrix = result.reshape(*batch, rows.shape[-2], columns.shape[-1])  # a view, since result is contiguous
    if columns.ndim == 2:
        flat = matrix.reshape(-1, columns.shape[-1])
        _multiply(rows.reshape(-1, rows.shape[-1]), columns, flat, fma)
    else:
        rows = np.broadcast_to(rows, batch + rows.shape[-2:])
        columns = np.broadcast_to(columns, batch + columns.shape[-2:])
        for index in np.ndindex(*batch):
            _multiply(rows[index], columns[index], matrix[index], fma)
    return result[()]


def multiply_rows(A: Any, x: np.ndarray, out: np.ndarray, format: Format, device: str) -> None:
    """Out <- A x by the tensor cores of a device, for numbers that are in the format already.

    Parameters
    ----------
    A : float32 ndarray or SciPy CSR matrix of shape (m, n)
        The stored entries of a sparse row fill blocks one after the other, as gathered by a sparse product.
    x, out : float32 arrays of shape (n,), (m,)
    format : Format
        Of A and x; the result is float32.
    device : str
        As for ``tensor_core_matmul``.
    """
    fma = block_fma(device, format)
    if isinstance(A, np.ndarray):
        out[:] = 0
        _multiply(A, x[:, np.newaxis], out[:, np.newaxis], fma)
        return
    from .tensor_core_kernels import csr_block_fma

    csr_block_fma(A.indptr, A.indices, A.data, x, out, fma.parameters())


def _multiply(A: np.ndarray, B: np.ndarray, C: np.ndarray, fma: BlockFMA) -> None:
    """C <- C + A B for matrices; C is written to."""
    from .tensor_core_kernels import dense_block_fma

    if A.shape[1] == 0:
        return
    if B.shape[1] < min(A.shape[0], 16):  # the kernel works along the rows of C: make them the long ones
        A, B, C = B.T, A.T, C.T
    left = _laid_out(A, 1, fma)
    right = _laid_out(B, 0, fma)
    filled = np.ascontiguousarray(C)
    dense_block_fma(left, right, _exponents(left, fma), _exponents(right, fma), filled, fma.parameters())
    if filled is not C:
        C[...] = filled


def _laid_out(matrix: np.ndarray, axis: int, fma: BlockFMA) -> np.ndarray:
    """Whole blocks along an axis, filled up with zeros, in the order in which they are summed."""
    length = matrix.shape[axis]
    positions = np.arange(length)
    if fma.deferred:
        from .tensor_core_kernels import pair_position

        positions = positions // 32 * 32 + pair_position.py_func(positions % 32)
    shape = list(matrix.shape)
    shape[axis] = -(-length // fma.padding) * fma.padding
    if not fma.deferred and shape[axis] == length:
        return np.ascontiguousarray(matrix)
    result = np.zeros(shape, np.float32)
    result[(slice(None),) * axis + (positions,)] = matrix
    return result


def _exponents(matrix: np.ndarray, fma: BlockFMA) -> np.ndarray:
    from .tensor_core_kernels import exponents_of

    result = np.empty(matrix.shape, np.int16)
    exponents_of(matrix.reshape(-1), fma.input_min_exponent, result.reshape(-1))
    return result


def _carried(values: Any, name: str, format: str) -> np.ndarray:
    """Numbers of the format in float32."""
    array = np.asarray(values)
    if array.dtype.name in FORMATS and array.dtype.itemsize < 4:  # fp16, and bf16 and fp8 where NumPy was taught them
        array = array.astype(np.float32)
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: found dtype {array.dtype}; wanted real numbers in float32 or float64")
    if format == "fp32" and array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # fp32 is the one format here whose float64 values may not fit float32
        return rounded_to(array, format).astype(np.float32)


def _result_shape(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of ``numpy.matmul``."""
    if not left or not right:
        raise ValueError(f"A, B: found shapes {left} and {right}; wanted at least one dimension each")
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        raise ValueError(f"A, B: found shapes {left} and {right}; wanted the last of A to equal the second last of B")
    try:
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise ValueError(f"A, B: found shapes {left} and {right}; wanted batches that broadcast") from None
    return (*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))
