"""The forms of the recurrence by name, and operations in each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from .chunked import chunked
from .recurrence import Recurrence, Tokens
from .recurrent import recurrent

__all__ = ["FORMS", "full_precision", "in_both_forms", "results"]

P = ParamSpec("P")
R = TypeVar("R")

Form = Callable[[Recurrence], tuple[torch.Tensor, torch.Tensor]]

FORMS: dict[str, Form] = {"recurrent": recurrent, "chunk": chunked}


def in_both_forms(operation: Callable[Concatenate[str, P], R]) -> tuple[Callable[P, R], Callable[P, R]]:
    """``chunk_NAME`` and ``fused_recurrent_NAME`` of an operation _NAME whose first parameter is the form."""
    name = operation.__name__.removeprefix("_")
    chunk, token = f"chunk_{name}", f"fused_recurrent_{name}"
    brief = f"``{chunk}`` token by token in plain PyTorch: the definition, which takes and returns the same."
    return _named(chunk, operation, "chunk", operation.__doc__), _named(token, operation, "recurrent", brief)


def _named(name: str, operation: Callable[..., Any], form: str, doc: str | None) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return operation(form, *args, **kwargs)

    functools.update_wrapper(call, operation)
    del call.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(operation)
    call.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return call


def results(
    form: str, tokens: Tokens, recurrence: Recurrence, output_final_state: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The outputs, of the dtype of the values given, and the final state if it is wanted."""
    with full_precision(tokens.q.device.type):
        o, state = FORMS[form](recurrence)
    return o.to(tokens.dtype), state if output_final_state else None


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Autocast would round products to 16 bits."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
