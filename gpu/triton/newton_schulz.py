"""Products of Newton-Schulz iterations: symmetric ones at half the work, fused steps, small matrices as a whole.

Stacks are (k, m, n) of bfloat16, float16 or float32, with any strides; sums are of float32. Each kernel is an operator
of torch's, ``torch.ops.resolvent``, with its derivative and its fake: ``torch.compile``, ``torch.export`` and autograd
know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl

from ...errors import InputError
from ...naming import choice
from .launching import check_devices, processors, tuned
from .table import register

__all__ = ["LARGEST_SMALL", "SCALINGS", "orthogonal_small", "product", "product_"]

# Rows and columns of matrices that one program iterates: what the memory of tensor cores has room for on sm_100.
LARGEST_SMALL = {torch.bfloat16: 128, torch.float16: 128, torch.float32: 64}
SCALINGS = ("frobenius", "schatten-4", "aol")
TINY = tl.constexpr(1.1754943508222875e-38)  # the smallest normal number of float32
# Square tiles, since those of the lower triangle are mirrored.
TILES = (
    {"TILE": 128, "num_warps": 8, "num_stages": 3},
    {"TILE": 64, "num_warps": 4, "num_stages": 4},
)


@triton.jit
def _of_triangle(tile):  # type: ignore[no-untyped-def]
    """Row and column of a tile of the lower triangle; they are counted row by row."""
    row = ((tl.sqrt(8.0 * tile + 1.0) - 1.0) * 0.5).to(tl.int32)
    row = tl.where(row * (row + 1) // 2 > tile, row - 1, row)  # the root is rounded
    row = tl.where((row + 1) * (row + 2) // 2 <= tile, row + 1, row)
    return row, tile - row * (row + 1) // 2


@triton.jit
def _of_rectangle(tile, tall, wide):  # type: ignore[no-untyped-def]
    """Row and column of a tile, in groups of eight rows, so that programs that run together share what they read."""
    first = tile // (8 * wide) * 8
    height = tl.minimum(tall - first, 8)
    inside = tile % (8 * wide)
    return first + inside % height, inside // height


@triton.jit(do_not_specialize=["waves"])
def _product_kernel(  # type: ignore[no-untyped-def]
    L,
    R,
    C,
    out,
    waves,
    m,
    n,
    depth,
    alpha,
    beta,
    L_matrix,
    L_row,
    L_column,
    R_matrix,
    R_row,
    R_column,
    C_matrix,
    C_row,
    C_column,
    out_matrix,
    out_row,
    SYMMETRIC: tl.constexpr,
    ADDED: tl.constexpr,
    PRECISION: tl.constexpr,
    DEPTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """A tile of out = alpha L R + beta C; where it is symmetric, of the lower triangle, and its mirror image.

    ``waves`` is what the tuner goes by: large tiles a multiprocessor, up to four.
    """
    tall, wide = tl.cdiv(m, TILE), tl.cdiv(n, TILE)
    tiles = tall * (tall + 1) // 2 if SYMMETRIC else tall * wide
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    if SYMMETRIC:
        row, column = _of_triangle(tile)
    else:
        row, column = _of_rectangle(tile, tall, wide)
    rows = row.to(tl.int64) * TILE + tl.arange(0, TILE)
    columns = column.to(tl.int64) * TILE + tl.arange(0, TILE)
    along = tl.arange(0, DEPTH).to(tl.int64)
    # Rows beyond the last are the first ones again: read, and not written.
    left = L + matrix * L_matrix + (rows % m)[:, None] * L_row + along[None, :] * L_column
    right = R + matrix * R_matrix + along[:, None] * R_row + (columns % n)[None, :] * R_column
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, depth, DEPTH):
        a = tl.load(left, mask=along[None, :] < depth - start, other=0.0)
        b = tl.load(right, mask=along[:, None] < depth - start, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        left += DEPTH * L_column
        right += DEPTH * R_row
    total *= alpha
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    if ADDED:
        added = C + matrix * C_matrix + rows[:, None] * C_row + columns[None, :] * C_column
        total += beta * tl.load(added, mask=inside, other=0.0).to(tl.float32)
    result = out + matrix * out_matrix
    if SYMMETRIC:
        mirrored = tl.trans(total)
        if row == column:
            total = tl.where(rows[:, None] >= columns[None, :], total, mirrored)
        else:
            turned = result + columns[:, None] * out_row + rows[None, :]
            tl.store(turned, mirrored.to(out.dtype.element_ty), mask=(columns[:, None] < n) & (rows[None, :] < m))
    tl.store(result + rows[:, None] * out_row + columns[None, :], total.to(out.dtype.element_ty), mask=inside)


_TUNED = tuned(TILES, ("waves", "SYMMETRIC"))(_product_kernel)


@triton.jit
def _orthogonal_kernel(  # type: ignore[no-untyped-def]
    X,
    out,
    coefficients,
    m,
    n,
    steps,
    eps,
    X_matrix,
    X_row,
    X_column,
    SCALING: tl.constexpr,
    PRECISION: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
):
    """One matrix over a bound of its norm, then x <- a x + x (b x^T x + c (x^T x)^2) for each step."""
    matrix = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    source = X + matrix * X_matrix + rows[:, None].to(tl.int64) * X_row + columns[None, :].to(tl.int64) * X_column
    kind: tl.constexpr = X.dtype.element_ty
    x = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    top = tl.maximum(tl.max(tl.abs(x)), TINY)
    x = x / top
    norm = tl.sqrt(tl.sum(x * x))
    x = x / tl.maximum(tl.maximum(norm, eps / top), TINY)
    if SCALING != "frobenius":
        given = x.to(kind)
        A = tl.dot(tl.trans(given), given, input_precision=PRECISION)
        if SCALING == "schatten-4":
            bound = tl.maximum(tl.sqrt(tl.sum(A * A)), TINY)
            x = x / tl.sqrt(bound)
        else:
            sums = tl.sum(tl.abs(A), 0)
            x = x / tl.sqrt(tl.where(sums > 0, sums, 1.0))[None, :]
    for step in range(steps):
        a = tl.load(coefficients + 3 * step)
        b = tl.load(coefficients + 3 * step + 1)
        c = tl.load(coefficients + 3 * step + 2)
        given = x.to(kind)
        A = tl.dot(tl.trans(given), given, input_precision=PRECISION)
        B = tl.dot((c * A).to(kind), A.to(kind), b * A, input_precision=PRECISION)
        x = tl.dot(given, B.to(kind), a * x, input_precision=PRECISION)
    found = out + matrix * m * n + rows[:, None] * n + columns[None, :]
    tl.store(found, x.to(kind), mask=inside)


def _precision() -> str:
    """Of products of float32, by torch's own setting: of TF32, or the three that are nearly those of float32."""
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _depth(dtype: torch.dtype) -> int:
    """How much of a row of L is multiplied at once: 128 bytes."""
    return 128 // dtype.itemsize


def _check(**stacks: torch.Tensor | None) -> None:
    check_devices(**stacks)
    given = {name: stack for name, stack in stacks.items() if stack is not None}
    kind = next(iter(given.values())).dtype
    for name, stack in given.items():
        if stack.dtype not in LARGEST_SMALL:
            wanted = "bfloat16, float16 or float32"
            raise InputError(f"{name}: found {stack.dtype}; wanted {wanted}: {name}.float(), or plain torch.matmul")
        if stack.dtype != kind:
            raise InputError(f"{name}: found {stack.dtype}; wanted {kind}, that of the others")
        if stack.ndim != 3:
            raise InputError(f"{name}: found shape {tuple(stack.shape)}; wanted a stack of matrices (k, m, n)")


@torch.library.custom_op("resolvent::product_", mutates_args=("out",))
def product_(
    out: torch.Tensor,
    L: torch.Tensor,
    R: torch.Tensor,
    C: torch.Tensor | None,
    alpha: float,
    beta: float,
    symmetric: bool,
) -> None:
    """Write alpha L R + beta C to ``out``, (k, m, n), contiguous rows, which shares no memory with the others."""
    _check(out=out, L=L, R=R, C=C)
    count, m, n = out.shape
    depth = L.shape[-1]
    _check_shapes(out, L, R, C, symmetric)
    if out.numel() == 0:
        return
    C_strides = (0, 0, 0) if C is None else C.stride()

    def tiles(size: int) -> int:
        tall, wide = triton.cdiv(m, size), triton.cdiv(n, size)
        return count * (tall * (tall + 1) // 2 if symmetric else tall * wide)

    with torch.cuda.device_of(out):
        _TUNED[lambda meta: (tiles(meta["TILE"]),)](
            L,
            R,
            out if C is None else C,
            out,
            min(triton.cdiv(tiles(TILES[0]["TILE"]), processors(out)), 4),
            m,
            n,
            depth,
            alpha,
            beta,
            *L.stride(),
            *R.stride(),
            *C_strides,
            *out.stride()[:2],
            SYMMETRIC=symmetric,
            ADDED=C is not None,
            PRECISION=_precision(),
            DEPTH=_depth(out.dtype),
        )


def _check_shapes(out: torch.Tensor, L: torch.Tensor, R: torch.Tensor, C: torch.Tensor | None, symmetric: bool) -> None:
    count, m, n = out.shape
    depth = L.shape[-1]
    for name, stack, shape in (("L", L, (count, m, depth)), ("R", R, (count, depth, n)), ("C", C, (count, m, n))):
        if stack is not None and tuple(stack.shape) != shape:
            raise InputError(f"{name}: found shape {tuple(stack.shape)}; wanted {shape}")
    if symmetric and m != n:
        raise InputError(f"L, R: found a product of shape {(m, n)}; wanted a square one where it is symmetric")
    if out.stride(-1) != 1:
        raise InputError(f"out: found strides {out.stride()}; wanted rows without gaps")


@torch.library.custom_op("resolvent::product", mutates_args=())
def product(
    L: torch.Tensor, R: torch.Tensor, C: torch.Tensor | None, alpha: float, beta: float, symmetric: bool
) -> torch.Tensor:
    """alpha L R + beta C.

    Parameters
    ----------
    L : Tensor of shape (k, m, d)
    R : Tensor of shape (k, d, n)
    C : Tensor of shape (k, m, n), optional
    alpha, beta : float
    symmetric : bool
        Whether the result is: the lower triangle is computed, and mirrored. Its derivatives are those of
        alpha L R + beta C, which are right as long as it stays symmetric.

    Returns
    -------
    Tensor of shape (k, m, n)
    """
    out = L.new_empty((L.shape[0], L.shape[1], R.shape[2]))
    product_(out, L, R, C, alpha, beta, symmetric)
    return out


@product.register_fake
def _(L, R, C, alpha, beta, symmetric):  # type: ignore[no-untyped-def]
    return L.new_empty((L.shape[0], L.shape[1], R.shape[2]))


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    L, R, C, ctx.alpha, ctx.beta, _ = inputs
    ctx.save_for_backward(L, R)
    ctx.added = C is not None


def _product_backward(ctx, G):  # type: ignore[no-untyped-def]
    L, R = ctx.saved_tensors
    of_L, of_R, of_C, *_ = ctx.needs_input_grad
    return (
        ctx.alpha * (G @ R.mT) if of_L else None,
        ctx.alpha * (L.mT @ G) if of_R else None,
        ctx.beta * G if of_C and ctx.added else None,
        None,
        None,
        None,
    )


product.register_autograd(_product_backward, setup_context=_keep)


@lru_cache(maxsize=64)
def _on_device(steps: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Kept from call to call, so that no copy is waited for."""
    return torch.tensor(steps, dtype=torch.float32, device=device)


@torch.library.custom_op("resolvent::orthogonal_small", mutates_args=())
def orthogonal_small(X: torch.Tensor, steps: Sequence[float], scaling: str, eps: float) -> torch.Tensor:
    """X over a bound of its norm, then X <- a X + X (b A + c A^2) with A = X^T X: all of it in one kernel.

    Parameters
    ----------
    X : Tensor of shape (k, m, n)
        With m and n up to ``LARGEST_SMALL[X.dtype]``.
    steps : sequence of float
        a, b, c of each step, one after the other.
    scaling : {"frobenius", "schatten-4", "aol"}
    eps : float
        Norms are at least this.

    Returns
    -------
    Tensor of shape (k, m, n)
        Iterates are kept in float32, and rounded to the type of X where they are multiplied.
    """
    _check(X=X)
    count, m, n = X.shape
    largest = LARGEST_SMALL[X.dtype]
    if max(m, n) > largest:
        raise InputError(f"X: found {X.dtype} matrices of shape {(m, n)}; wanted at most {largest} rows and columns")
    scaling = choice("scaling", scaling, SCALINGS)
    out = X.new_empty(X.shape)
    if X.numel() == 0:
        return out
    M, N = (max(16, triton.next_power_of_2(size)) for size in (m, n))
    coefficients = _on_device(tuple(steps), X.device)
    with torch.cuda.device_of(X):
        _orthogonal_kernel[(count,)](
            X,
            out,
            coefficients,
            m,
            n,
            len(steps) // 3,
            eps,
            *X.stride(),
            SCALING=scaling,
            PRECISION=_precision(),
            M=M,
            N=N,
            num_warps=_warps(M, N),
        )
    return out


def _warps(M: int, N: int) -> int:
    return min(max(M * N // 1024, 1), 8)


@orthogonal_small.register_fake
def _(X, steps, scaling, eps):  # type: ignore[no-untyped-def]
    return X.new_empty(X.shape)


def _keep_steps(ctx, inputs, output):  # type: ignore[no-untyped-def]
    X, ctx.steps, ctx.scaling, ctx.eps = inputs
    ctx.save_for_backward(X)


def _orthogonal_backward(ctx, G):  # type: ignore[no-untyped-def]
    """Of the iteration in float32, whose iterates are computed anew."""
    (given,) = ctx.saved_tensors
    x, G = given.float(), G.float()
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    bounded = norm <= ctx.eps
    norm = norm.clamp(min=max(ctx.eps, torch.finfo(torch.float32).tiny))
    x = unscaled = x / norm
    A = x.mT @ x
    if ctx.scaling == "schatten-4":
        factor = torch.linalg.vector_norm(A, dim=(-2, -1), keepdim=True).clamp(min=1e-30) ** -0.5
        x = x * factor
    elif ctx.scaling == "aol":
        sums = A.abs().sum(-2, keepdim=True)
        factor = torch.where(sums > 0, sums, 1) ** -0.5
        x = x * factor
    taken = []
    for a, b, c in _by_step(ctx.steps):
        taken.append(x)
        A = x.mT @ x
        x = a * x + x @ (b * A + c * (A @ A))
    for x, (a, b, c) in zip(reversed(taken), reversed(_by_step(ctx.steps)), strict=True):
        A, of_B = x.mT @ x, x.mT @ G
        of_A = b * of_B + c * (A @ of_B + of_B @ A)
        G = a * G + G @ (b * A + c * (A @ A)) + x @ (of_A + of_A.mT)
    x = unscaled
    A = x.mT @ x
    if ctx.scaling == "schatten-4":
        inner = (G * x).sum((-2, -1), keepdim=True)
        G = factor * G - inner * factor**5 * (x @ A)
    elif ctx.scaling == "aol":
        of_A = A.sign() * (-0.5 * factor**3 * (G * x).sum(-2, keepdim=True))
        G = factor * G + x @ (of_A + of_A.mT)
    inner = (G * x).sum((-2, -1), keepdim=True)
    G = torch.where(bounded, G, G - inner * x) / norm
    return G.to(given.dtype), None, None, None


def _by_step(steps: Sequence[float]) -> list[tuple[float, ...]]:
    return [tuple(steps[place : place + 3]) for place in range(0, len(steps), 3)]


orthogonal_small.register_autograd(_orthogonal_backward, setup_context=_keep_steps)


def _register() -> None:
    numbers = {"waves": "i32", "m": "i32:16", "n": "i32:16", "depth": "i32:16", "alpha": "fp32", "beta": "fp32"}
    numbers |= {f"{name}_matrix": "i64:16" for name in ("L", "R", "C", "out")}
    numbers |= {f"{name}_row": "i32:16" for name in ("L", "R", "C", "out")}
    numbers |= {f"{name}_column": "i32:16" for name in ("L", "R", "C")}
    uses = {
        "Gram matrix": {"L_row": 1, "R_column": 1, "SYMMETRIC": True, "ADDED": False},
        "polynomial": {"L_column": 1, "R_column": 1, "C_column": 1, "SYMMETRIC": True, "ADDED": True},
        "step": {"L_column": 1, "R_column": 1, "C_column": 1, "SYMMETRIC": False, "ADDED": True},
    }
    for dtype, largest in LARGEST_SMALL.items():
        kind = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}[str(dtype).removeprefix("torch.")]
        for precision in ("tf32", "tf32x3") if kind == "fp32" else ("tf32",):
            named = f"{kind} as {precision}" if kind == "fp32" else kind
            for use, constants in uses.items():
                signature = dict.fromkeys(("L", "R", "C", "out"), f"*{kind}") | numbers
                signature = {name: value for name, value in signature.items() if name not in constants}
                fixed = {**constants, "PRECISION": precision, "DEPTH": _depth(dtype)}
                register(f"{use}[{named}]", _TUNED, signature, fixed)
            for size in (size for size in (16, 32, 64, 128) if size <= largest):
                register(
                    f"orthogonal[{named}, {size}]",
                    _orthogonal_kernel,
                    {"X": f"*{kind}", "out": f"*{kind}", "coefficients": "*fp32", "m": "i32:16", "n": "i32:16"}
                    | {"steps": "i32", "eps": "fp32", "X_matrix": "i32:16", "X_row": "i32:16"},
                    {"X_column": 1, "SCALING": "schatten-4", "PRECISION": precision, "M": size, "N": size},
                    num_warps=_warps(size, size),
                )


_register()
