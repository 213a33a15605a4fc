"""The forms of the recurrence by name, and operations in each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from ...errors import InputError
from ...naming import choice
from .accelerated import accelerated, refusal
from .checks import as_dtype, is_transformed
from .chunked import chunked
from .recurrence import Recurrence, Tokens
from .recurrent import recurrent

__all__ = ["FORMS", "full_precision", "in_both_forms", "results"]

P = ParamSpec("P")
R = TypeVar("R")

Form = Callable[[Recurrence], tuple[torch.Tensor, torch.Tensor]]

FORMS: dict[str, Form] = {"recurrent": recurrent, "chunk": chunked, "triton": accelerated}
IN_CHUNKS = ("auto", "chunk", "triton")


def in_both_forms(
    operation: Callable[Concatenate[str, P], R], kernels: bool = False
) -> tuple[Callable[P, R], Callable[P, R]]:
    """``chunk_NAME`` and ``fused_recurrent_NAME`` of an operation _NAME whose first parameter is the form.

    With ``kernels``, the one in chunks has a keyword for the form, which the operation's docstring has before
    ``validate``.
    """
    name = operation.__name__.removeprefix("_")
    chunk, token = f"chunk_{name}", f"fused_recurrent_{name}"
    brief = f"``{chunk}`` token by token in plain PyTorch: the definition, which takes and returns the same."
    more = inspect.Parameter("form", inspect.Parameter.KEYWORD_ONLY, default="auto", annotation="str")

    def in_chunks(*args: Any, form: str = "auto", **kwargs: Any) -> Any:
        return operation(choice("form", form, IN_CHUNKS), *args, **kwargs)

    def by_default(*args: Any, **kwargs: Any) -> Any:
        return operation("auto", *args, **kwargs)

    def by_token(*args: Any, **kwargs: Any) -> Any:
        return operation("recurrent", *args, **kwargs)

    in_which = _named(chunk, in_chunks, operation, [more]) if kernels else _named(chunk, by_default, operation)
    in_which.__doc__ = operation.__doc__
    one_by_one = _named(token, by_token, operation)
    one_by_one.__doc__ = brief
    return in_which, one_by_one


def _named(name: str, call: Any, operation: Callable[..., Any], more: Sequence[inspect.Parameter] = ()) -> Any:
    """As of the operation, without the form but with ``more`` keywords, before the last."""
    functools.update_wrapper(call, operation)
    del call.__wrapped__
    signature = inspect.signature(operation)
    _, *parameters, last = signature.parameters.values()
    call.__signature__ = signature.replace(parameters=[*parameters, *more, last])
    call.__name__ = call.__qualname__ = name
    return call


def _chosen(form: str, recurrence: Recurrence) -> str:
    """The form by its name: by "auto", Triton's kernels where they do what is needed on a device, else chunks."""
    if form == "auto" and not recurrence.r.is_cuda:
        return "chunk"
    if form not in ("auto", "triton"):
        return form
    given = (recurrence.r, recurrence.w, recurrence.v, recurrence.e, recurrence.b, recurrence.g, recurrence.initial)
    reason = refusal(recurrence)
    if reason is None and is_transformed(*given):
        reason = "found a transform of torch.func or a tangent of forward mode; wanted form='chunk'"
    if form == "triton" and reason is not None:
        raise InputError(f"form='triton': {reason}")
    return "chunk" if reason is not None else "triton"


def results(
    form: str, tokens: Tokens, recurrence: Recurrence, output_final_state: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The outputs, of the dtype of the values given, and the final state if it is wanted."""
    name = _chosen(form, recurrence)
    if name == "triton":
        recurrence = replace(recurrence, v=as_dtype(tokens.dtype, recurrence.v))
    with full_precision(tokens.q.device.type):
        o, state = FORMS[name](recurrence)
    return o.to(tokens.dtype), state if output_final_state else None


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Autocast would round products to 16 bits."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
