"""What the layers of a model remember between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Cache"]


class Cache:
    """The states of each layer, by ``layer_idx``; what flash-linear-attention calls ``past_key_values``.

    Layers need ``cache[layer_idx]`` and ``cache.update(...)``, so that its caches serve as well. There is no ``crop``:
    a recurrent state does not tell what it was some tokens ago.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import Cache
    >>> cache = Cache()
    >>> cache.update(layer_idx=0, offset=5, recurrent_state=torch.tensor([1.0, 2.0, 3.0]), conv_state=None)
    >>> len(cache), cache.get_seq_length()
    (1, 5)
    >>> cache.reorder_cache(torch.tensor([2, 2, 0]))
    >>> cache[0]["recurrent_state"]
    tensor([3., 3., 1.])
    """

    def __init__(self) -> None:
        self._states: dict[int, dict[str, Any]] = {}
        self._tokens: dict[int, int] = {}

    def __len__(self) -> int:
        return max(self._states, default=-1) + 1

    def __getitem__(self, layer_idx: int) -> dict[str, Any]:
        return self._states[layer_idx]

    def __contains__(self, layer_idx: int) -> bool:
        return layer_idx in self._states

    def update(self, *, layer_idx: int, offset: int, **states: Any) -> None:
        """Replace the states of a layer, which has read ``offset`` more tokens."""
        self._states[layer_idx] = states
        self._tokens[layer_idx] = self.get_seq_length(layer_idx) + offset

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that a layer has read."""
        return self._tokens.get(layer_idx, 0)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Have each sequence continue from the states of another one: sequence i from those of ``beam_idx[i]``."""
        self._replace(lambda part: part.index_select(0, beam_idx.to(part.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the states of some sequences; what ``reorder_cache`` does is this with as many as there are."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Have each sequence continue in so many ways, which follow each other."""
        self._replace(lambda part: part.repeat_interleave(repeats, dim=0))

    def reset(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._tokens.clear()

    def _replace(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Every tensor by another one; their first axis is that of the sequences."""
        for layer_idx, states in self._states.items():
            self._states[layer_idx] = {name: _mapped(function, state) for name, state in states.items()}


def _mapped(function: Callable[[torch.Tensor], torch.Tensor], state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return function(state)
    if isinstance(state, tuple | list):
        return type(state)(_mapped(function, part) for part in state)
    return state
