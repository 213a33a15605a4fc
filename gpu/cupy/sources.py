"""What all CUDA kernels of this package share: how rows are dealt out to threads, and how sums are taken.

A kernel is a text in CUDA C, compiled by NVRTC when it is first launched. Every thread has one row of a *tile*, every
block a run of consecutive tiles. Which row that is, and what the product with a matrix is there, the text of a storage
says (``STORAGES``), so that a kernel is written once for all storages.

Sums are taken in double, and in an order that depends on the number of tiles alone: by a thread over its rows, by a
block over its threads, and by the block that is done last over all blocks. No atomic operation touches a sum, so a
result is the same bits every time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

try:
    import cupy
except ImportError:  # the texts can be read, and compiled for a device that is not there, without CuPy
    cupy = None

__all__ = ["MOST_BLOCKS", "THREADS", "blocks_of", "kernel", "launch", "source", "tiles_of"]

THREADS = 256  # a block
# So many that the last ones to finish leave little of the device idle (some ten blocks for each place that there is on
# it), and so few that the sums of all of them are added by one block in a few microseconds.
MOST_BLOCKS = 8192
CHUNK = 2048  # products of a tile of short rows that are held at a time: 16 KiB, so that eight blocks share a processor

_SHARED = f"""
typedef @T@ T;
typedef @I@ I;
#define THREADS {THREADS}
#define CHUNK {CHUNK}

// The tiles of this block.
#define FOR_TILES(tile, tiles) \\
    for (long long each_ = ((tiles) + gridDim.x - 1) / gridDim.x, tile = blockIdx.x * each_, \\
         end_ = tile + each_ < (tiles) ? tile + each_ : (tiles); tile < end_; ++tile)

// The rows of this thread, where rows are dealt out as those of a vector.
#define FOR_ROWS(i, n) \\
    FOR_TILES(tile_, ((n) + THREADS - 1) / THREADS) \\
        for (long long i = tile_ * THREADS + threadIdx.x, once_ = 1; once_ && i < (n); once_ = 0)

// K sums over the threads of a block, which all of them get: of every 16th thread first, then of these.
template <int K>
__device__ void block_sums(double (&sums)[K])
{{
    __shared__ double room[K][THREADS], parts[K][16];
    int t = threadIdx.x;
    for (int k = 0; k < K; ++k) room[k][t] = sums[k];
    __syncthreads();
    if (t < 16 * K) {{
        double part = 0.0;
        for (int i = t % 16; i < THREADS; i += 16) part += room[t / 16][i];
        parts[t / 16][t % 16] = part;
    }}
    __syncthreads();
    for (int k = 0; k < K; ++k) {{
        sums[k] = 0.0;
        for (int i = 0; i < 16; ++i) sums[k] += parts[k][i];
    }}
}}

// Whether all other blocks have come here before: then what they wrote can be read.
__device__ bool is_last_block(unsigned int* arrived)
{{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicInc(arrived, gridDim.x - 1) == gridDim.x - 1;  // which leaves zero for the next
    __syncthreads();
    __threadfence();
    return last;
}}

// Sums over all threads of all blocks; true in the one block that has them. ``partial`` has room for K numbers a block.
template <int K>
__device__ bool summed(double (&sums)[K], double* partial, unsigned int* arrived)
{{
    block_sums(sums);
    if (threadIdx.x == 0)
        for (int k = 0; k < K; ++k) partial[(long long)k * gridDim.x + blockIdx.x] = sums[k];
    if (!is_last_block(arrived)) return false;
    for (int k = 0; k < K; ++k) {{
        const volatile double* here = partial + (long long)k * gridDim.x;
        sums[k] = 0.0;
        for (int block = threadIdx.x; block < gridDim.x; block += THREADS) sums[k] += here[block];
    }}
    block_sums(sums);
    return true;
}}
"""

# Each says what of a matrix kernels are given, which row a thread has in a tile (-1: none), what the product is there
# (called by all threads of a block together), and its entries one by one, for what needs more than their sum.
_PLAIN_ROWS = """
__device__ long long row_of(MATRIX_PARAMETERS, long long n, long long tile)
{
    long long row = tile * THREADS + threadIdx.x;
    return row < n ? row : -1;
}
"""
_SUM_OF_ENTRIES = """
__device__ double tile_product(MATRIX_PARAMETERS, long long n, long long tile, const T* x)
{
    double total = 0.0;
    entries_of(MATRIX, n, tile, [&](double entry, long long column) { total += entry * (double)x[column]; });
    return total;
}
"""
_CSR = (
    """
#define MATRIX_PARAMETERS const I* indptr, const I* indices, const T* data
#define MATRIX indptr, indices, data
"""
    + _PLAIN_ROWS
    + """
template <class Use>
__device__ void entries_of(MATRIX_PARAMETERS, long long n, long long tile, Use use)
{
    long long row = row_of(MATRIX, n, tile);
    if (row < 0) return;
    for (I k = indptr[row]; k < indptr[row + 1]; ++k) use((double)data[k], (long long)indices[k]);
}
"""
)

STORAGES = {
    "vectors": "",  # no matrix
    # The products of a tile's entries are made by all its threads side by side, however long its rows are, so that the
    # arrays are read in one piece. Then each thread adds those of its row, in their order.
    "csr_short": _CSR
    + """
__device__ double tile_product(MATRIX_PARAMETERS, long long n, long long tile, const T* x)
{
    __shared__ double products[CHUNK];
    long long first = tile * THREADS, after = first + THREADS < n ? first + THREADS : n, row = first + threadIdx.x;
    I low = indptr[first], high = indptr[after];
    I mine = row < n ? indptr[row] : high, behind = row < n ? indptr[row + 1] : high;
    double total = 0.0;
    for (I start = low; start < high; start += CHUNK) {
        I stop = high - start < CHUNK ? high : start + CHUNK;
        for (I k = start + threadIdx.x; k < stop; k += THREADS)
            products[k - start] = (double)data[k] * (double)x[indices[k]];
        __syncthreads();
        for (I k = mine > start ? mine : start; k < (behind < stop ? behind : stop); ++k) total += products[k - start];
        __syncthreads();
    }
    return total;
}
""",
    # Of long rows each is a warp's: its lanes take every 32nd entry, and add their sums pair by pair.
    "csr_long": _CSR
    + """
__device__ double tile_product(MATRIX_PARAMETERS, long long n, long long tile, const T* x)
{
    int lane = threadIdx.x % 32;
    long long first = tile * THREADS + threadIdx.x - lane;
    double total = 0.0;
    for (int i = 0; i < 32 && first + i < n; ++i) {
        double sum = 0.0;
        for (I k = indptr[first + i] + lane; k < indptr[first + i + 1]; k += 32)
            sum += (double)data[k] * (double)x[indices[k]];
        for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
        if (lane == i) total = sum;
    }
    return total;
}
""",
    "diagonals": """
#define MATRIX_PARAMETERS const T* data, const long long* offsets, long long count, long long symmetric
#define MATRIX data, offsets, count, symmetric
"""
    + _PLAIN_ROWS
    + """
// data[d, i] stands for (i, i + offsets[d]), and for (i + offsets[d], i) as well where A is given by its upper half.
template <class Use>
__device__ void entries_of(MATRIX_PARAMETERS, long long n, long long tile, Use use)
{
    long long row = row_of(MATRIX, n, tile);
    if (row < 0) return;
    for (long long d = 0; d < count; ++d) {
        long long offset = offsets[d], column = row + offset;
        if (column >= 0 && column < n) use((double)data[d * n + row], column);
        column = row - offset;
        if (symmetric && offset && column >= 0 && column < n) use((double)data[d * n + column], column);
    }
}
"""
    + _SUM_OF_ENTRIES,
    # A tile is a patch of a plane, of 2^width points in a line. A block visits the same patch of one plane after the
    # other, so that two of the three planes that a product reads are in its cache from the planes before.
    "stencil": """
#define MATRIX_PARAMETERS long long planes, long long lines, long long points, long long width, \\
    double own, double before, double behind, double above, double below, double left, double right
#define MATRIX planes, lines, points, width, own, before, behind, above, below, left, right

struct Point { unsigned int plane, line, point; bool inside; };

__device__ Point point_of(MATRIX_PARAMETERS, long long tile)
{
    unsigned int across = (unsigned int)((points + (1ll << width) - 1) >> width);
    unsigned int patch = (unsigned int)tile / (unsigned int)planes, height = THREADS >> width;
    Point at;
    at.plane = (unsigned int)tile % (unsigned int)planes;
    at.line = patch / across * height + (threadIdx.x >> width);
    at.point = (patch % across << width) + (threadIdx.x & ((1u << width) - 1));
    at.inside = at.line < lines && at.point < points;
    return at;
}

__device__ long long row_of(MATRIX_PARAMETERS, long long n, long long tile)
{
    Point at = point_of(MATRIX, tile);
    return at.inside ? (at.plane * lines + at.line) * points + at.point : -1;
}

template <class Use>
__device__ void entries_of(MATRIX_PARAMETERS, long long n, long long tile, Use use)
{
    Point at = point_of(MATRIX, tile);
    if (!at.inside) return;
    long long row = (at.plane * lines + at.line) * points + at.point;
    use(own, row);
    if (at.plane > 0) use(before, row - lines * points);
    if (at.plane + 1 < planes) use(behind, row + lines * points);
    if (at.line > 0) use(above, row - points);
    if (at.line + 1 < lines) use(below, row + points);
    if (at.point > 0) use(left, row - 1);
    if (at.point + 1 < points) use(right, row + 1);
}
"""
    + _SUM_OF_ENTRIES,
}

# Products are rounded before they are added, as written: the bits are then those of any other machine, and the kernels,
# which wait for memory, take no longer.
OPTIONS = ("--fmad=false",)
_NUMBERS = {"f": "float", "d": "double"}
_INDICES = {"i": "int", "l": "long long", "q": "long long"}


def tiles_of(n: int) -> int:
    """Tiles of n rows, where threads have consecutive ones."""
    return -(-n // THREADS)


def blocks_of(tiles: int) -> int:
    """Blocks of a launch over so many tiles."""
    return max(1, min(tiles, MOST_BLOCKS))


def source(text: str, dtype: Any, storage: str = "vectors", index: Any = np.int32) -> str:
    """The whole text of kernels over vectors of a type, and matrices of a storage.

    Parameters
    ----------
    text : str
        Of the kernels.
    dtype : dtype
        float32 or float64.
    storage : str
        A name in ``STORAGES``.
    index : dtype
        Of the index arrays, int32 or int64.

    Examples
    --------
    >>> from resolvent.gpu.cupy.sources import source
    >>> "typedef float T;" in source("", "float32")
    True
    """
    whole = _SHARED + STORAGES[storage] + text
    return whole.replace("@T@", _NUMBERS[np.dtype(dtype).char]).replace("@I@", _INDICES[np.dtype(index).char])


@cache
def kernel(name: str, text: str, char: str, storage: str = "vectors", index: str = "i") -> Any:
    """The kernel of that name in a text; types are given by their characters."""
    return cupy.RawKernel(source(text, char, storage, index), name, options=OPTIONS)


def launch(name: str, text: str, dtype: Any, n: int, *arguments: Any) -> None:
    """Launch a kernel over vectors of n numbers."""
    made = kernel(name, text, np.dtype(dtype).char)
    made((blocks_of(tiles_of(n)),), (THREADS,), arguments)
