"""What the layers of a model remember between calls."""

from __future__ import annotations

from typing import Any

__all__ = ["Cache"]


class Cache:
    """The states of each layer, by ``layer_idx``; what flash-linear-attention calls ``past_key_values``.

    Layers need ``len(cache)``, ``cache[layer_idx]`` and ``cache.update(...)``, so that its caches serve as well.

    Examples
    --------
    >>> from resolvent.layers import Cache
    >>> cache = Cache()
    >>> cache.update(layer_idx=0, offset=5, recurrent_state=None, conv_state=None)
    >>> len(cache), cache.get_seq_length()
    (1, 5)
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
