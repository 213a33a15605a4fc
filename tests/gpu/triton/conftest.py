"""bfloat16 in Triton's interpreter as on devices: it truncates in casts, and multiplies bit patterns in tl.dot."""

import numpy as np
import pytest


def narrowed(words):
    """Patterns of bfloat16 nearest to those of float32, the even one of two."""
    wide = words.astype(np.uint64)
    nearest = (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16
    return np.where((words & 0x7FFFFFFF) > 0x7F800000, (wide >> 16) | 0x40, nearest).astype(np.uint16)


@pytest.fixture(autouse=True, scope="session")
def bfloat16_is_right():
    """Casts round to nearest even, ``tl.dot`` multiplies numbers, and sums and the like of bfloat16 are refused."""
    if not pytest.importorskip("triton").knobs.runtime.interpret:
        yield
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cast, dot, binary = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot, InterpreterBuilder.binary_op

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def cast_impl(self, src, dst_type):
        if dst_type.scalar == src.dtype.scalar:
            return src
        src = widened(src)
        if dst_type.scalar != tl.bfloat16:
            return cast(self, src, dst_type)
        words = np.ascontiguousarray(src.data.astype(np.float32)).view(np.uint32)
        return TensorHandle(narrowed(words), tl.bfloat16)

    def create_dot(self, a, b, *others):
        return dot(self, widened(a), widened(b), *others)

    def binary_op(self, lhs, rhs, op):
        if tl.bfloat16 in (lhs.dtype.scalar, rhs.dtype.scalar):
            raise NotImplementedError("arithmetic on bfloat16 outside of tl.dot, which the interpreter gets wrong")
        return binary(self, lhs, rhs, op)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpreterBuilder, "cast_impl", cast_impl)
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        patch.setattr(InterpreterBuilder, "binary_op", binary_op)
        yield


@pytest.fixture(autouse=True, scope="session")
def functions_are_called_as_they_are():
    """A kernel prepares ``triton.language`` for the interpreter; a function that it calls need not do so again.

    That would take half the time of the tests.
    """
    if not pytest.importorskip("triton").knobs.runtime.interpret:
        yield
        return
    from triton.runtime.interpreter import InterpretedFunction

    original = InterpretedFunction.__call__

    def call(self, *args, **kwargs):
        if self.fn.__module__.startswith("triton."):  # which names the language otherwise
            return original(self, *args, **kwargs)
        return self.rewrite()(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpretedFunction, "__call__", call)
        yield
