"""What layers of sequence models have in common, whatever they compute from queries, keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import silu

from ...errors import InputError
from ...naming import choice, suggestion
from ..tensors import check_width
from .cache import Cache
from .heads import Heads, LowRank
from .packing import Packing
from .short_convolution import ShortConvolution

__all__ = ["TokenMixer"]

ACTIVATIONS = {"silu": silu, "swish": silu, "sigmoid": torch.sigmoid}


class TokenMixer(nn.Module):
    """A layer that mixes the tokens of a sequence: all but the operation that does it.

    Projections of the input to queries, keys and values, convolved over a few tokens and cut into heads; the operation;
    a norm of each head, an output gate, and the output projection. Besides: padding, packed sequences, and the cache.

    A layer calls ``_add_projections`` and ``_add_output`` in its constructor and has ``_operation``.

    Parameters
    ----------
    hidden_size : int
    heads : Heads
    mode : str
        One of ``modes``.
    layer_idx : int, optional
        The place of the layer in a cache.
    unknown : mapping
        Arguments of the constructor that it does not know, to be refused.

    Raises
    ------
    InputError
        For an unknown argument or mode, with what there is.
    """

    modes: ClassVar[tuple[str, ...]] = ("chunk", "fused_recurrent")
    q_conv1d: ShortConvolution | None
    k_conv1d: ShortConvolution | None
    v_conv1d: ShortConvolution | None
    g_proj: nn.Module | None
    proj_k: LowRank | None
    proj_v: LowRank | None
    k_rep: nn.Parameter | None
    v_rep: nn.Parameter | None

    def __init__(
        self, hidden_size: int, heads: Heads, mode: str, layer_idx: int | None, unknown: Mapping[str, Any]
    ) -> None:
        super().__init__()
        kind = type(self)
        for name in unknown:
            parameters = signature(kind).parameters.values()
            known = [parameter.name for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD]
            raise InputError(
                f"{name}: is not a setting of {kind.__name__}; there are {', '.join(known)}{suggestion(name, known)}"
            )
        self.mode, self.layer_idx, self.hidden_size = choice("mode", mode, self.modes), layer_idx, hidden_size
        self._heads = heads
        self.num_heads, self.num_k_heads, self.num_v_heads, self.heads = heads.q, heads.k, heads.v, heads.count
        self.head_dim, self.head_v_dim = heads.key_dim, heads.value_dim

    def _add_projections(
        self,
        *,
        conv_size: int = 4,
        conv_bias: bool = False,
        convolved: Iterable[str] = "qkv",
        activated: Iterable[str] = "qkv",
        times: int = 1,
        rank: int | None = None,
        learnable_repeat: bool = False,
    ) -> None:
        """``q_proj`` and the others, and the convolutions of those named.

        Parameters
        ----------
        conv_size : int
            Tokens a convolution sees.
        conv_bias : bool
        convolved, activated : iterable of "q", "k" and "v"
            What is convolved over tokens; what SiLU is applied to, by the convolution where there is one.
        times : int
            Keys and values a token and head.
        rank : int, optional
            Of what is added to keys and values that serve several heads, for each of these.
        learnable_repeat : bool
            Whether such heads are given mixtures of keys and values, which begin as the one that serves them.
        """
        heads = self._heads
        self._activated = frozenset(activated)
        sizes = {"q": heads.q_size, "k": heads.k_size * times, "v": heads.v_size * times}
        for name, size in sizes.items():
            setattr(self, f"{name}_proj", nn.Linear(self.hidden_size, size, bias=False))
        there = frozenset(convolved)
        for name, size in sizes.items():
            activation = "silu" if name in self._activated else None
            convolution = ShortConvolution(size, conv_size, conv_bias, activation) if name in there else None
            setattr(self, f"{name}_conv1d", convolution)
        self.proj_k = self.proj_v = self.k_rep = self.v_rep = None
        if rank is None:
            if learnable_repeat:
                raise InputError("kv_learnable_residual: found True; wanted kv_proj_rank with it")
            return
        if heads.k == heads.v == heads.count:
            raise InputError(
                f"kv_proj_rank: found {rank}; wanted None, or heads of keys or values that serve several others"
            )
        self.proj_k = LowRank(heads.k_size, heads.count * heads.key_dim, rank)
        self.proj_v = LowRank(heads.v_size, heads.o_size, rank)
        if learnable_repeat:
            for name, count in (("k", heads.k), ("v", heads.v)):
                repeat = torch.eye(count).repeat_interleave(heads.count // count, 0)
                setattr(self, f"{name}_rep", nn.Parameter(repeat))

    def _add_output(self, norm_eps: float, gate: str | None, projection: nn.Module | None = None) -> None:
        """The norm of heads, the output projection, and a gate by an activation, if any.

        Of a projection of the input, by default a linear one.
        """
        self._gate = ACTIVATIONS[choice("output_gate_activation", gate, ACTIVATIONS)] if gate else None
        size = self._heads.o_size
        self.g_proj = (projection or nn.Linear(self.hidden_size, size, bias=False)) if gate else None
        self.o_norm = nn.RMSNorm(self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(size, self.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        *,
        cu_seqlens: torch.Tensor | None = None,
        return_info: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any, Any]:
        """Apply the layer.

        Parameters
        ----------
        hidden_states : Tensor, (B, T, hidden_size)
        attention_mask : Tensor, (B, at least T), optional
            1 for tokens, 0 for padding, wherever it is, and nothing else; the last T columns count. Padding changes no
            state and gives 0.
        past_key_values : Cache, optional
            Continued from, and updated where ``use_cache``.
        use_cache : bool
        output_attentions : bool
            There are none; the second result is None.
        cu_seqlens : Tensor, (N + 1,), optional
            Where N sequences in one row (B = 1) begin and end; it wins over a mask.
        return_info : bool
            Whether the second result tells how well regressions were solved, of layers that solve any: an ``Info``, of
            the tokens that are not padding, as one row where there is a mask.

        Returns
        -------
        o : Tensor, (B, T, hidden_size)
        info : Info or None
        past_key_values : Cache or None

        Raises
        ------
        InputError
            For another width than hidden_size, a mask of another shape or other numbers, packed sequences in a batch
            of more than one row, a cache without ``layer_idx``, and one of other sequences or another layer.
        """
        check_width(hidden_states, "hidden_states", self.hidden_size, "hidden_size", "B T *")
        packing = Packing.of(hidden_states, attention_mask, cu_seqlens)
        past = self._past(past_key_values, packing.sequences)
        o, state, conv_state, info = self._mixed(
            packing.pack(hidden_states), past, packing, bool(use_cache), return_info
        )
        if use_cache and past_key_values is not None:
            # Caches of other libraries take no name of the layer.
            name = {"layer": type(self).__name__} if isinstance(past_key_values, Cache) else {}
            past_key_values.update(
                layer_idx=self.layer_idx, offset=packing.tokens, recurrent_state=state, conv_state=conv_state, **name
            )
        return packing.unpack(o), info, past_key_values

    def _mixed(
        self, x: torch.Tensor, past: Mapping[str, Any] | None, packing: Packing, keep: bool, return_info: bool
    ) -> tuple[torch.Tensor, Any, tuple[Any, ...], Any]:
        """The output (B, T, hidden_size), the states of the operation and of the convolutions, and what is reported."""
        before = past["conv_state"] if past and past.get("conv_state") else (None,) * 3
        (q, k, v), conv_state = self._tokens(x, before, packing.lengths)
        how = {
            "initial_state": past["recurrent_state"] if past else None,
            "output_final_state": keep,
            "cu_seqlens": packing.cu_seqlens,
            "validate": False,
        }
        o, state, info = self._operation(x, q, k, v, how, return_info)
        return self._output(o, x), state, conv_state, info

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        """Mix the tokens.

        Parameters
        ----------
        x : Tensor, (B, T, hidden_size)
            The input, for gates.
        q, k, v : Tensor, (B, T, heads, length of one)
        how : dict
            ``initial_state``, ``output_final_state``, ``cu_seqlens`` and ``validate``, as operations take them.
        return_info : bool

        Returns
        -------
        o : Tensor, (B, T, heads, length of one)
        state : Tensor, tuple of Tensor, or None
            After the last token.
        info : object
        """
        raise NotImplementedError

    @property
    def _one_by_one(self) -> bool:
        """Whether tokens are gone through one by one; never in training."""
        return self.mode == "fused_recurrent" and not self.training

    def _tokens(
        self, x: torch.Tensor, past: tuple[Any, ...], lengths: list[int] | None
    ) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
        """Queries, keys and values in heads, and what the convolutions need for the next call."""
        flat, states = [], []
        for name, before in zip("qkv", past, strict=True):
            y, state = getattr(self, f"{name}_proj")(x), None
            convolution = getattr(self, f"{name}_conv1d")
            if convolution is not None:
                y, state = convolution(y, before, lengths)
            elif name in self._activated:
                y = silu(y)
            flat.append(y)
            states.append(state)
        return self._in_heads(*flat), tuple(states)

    def _in_heads(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> list[torch.Tensor]:
        heads = self._heads
        k = _expanded(heads, k, heads.k, self.proj_k, self.k_rep)
        v = _expanded(heads, v, heads.v, self.proj_v, self.v_rep)
        return [heads.split(q, heads.q), k, v]

    def _output(self, o: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Of the heads and the input."""
        o = self.o_norm(o.to(self.o_norm.weight.dtype))
        if self._gate is not None and self.g_proj is not None:
            o = o * self._gate(self.g_proj(x)).unflatten(-1, o.shape[-2:])
        return self.o_proj(o.flatten(-2))

    def _past(self, cache: Any, sequences: int) -> Mapping[str, Any] | None:
        """The states to continue from, if there are any.

        Raises
        ------
        InputError
            For a layer without a place, and states of other sequences or another layer.
        """
        if cache is None:
            return None
        if self.layer_idx is None:
            raise InputError("layer_idx: found None; a layer needs its place in the cache")
        try:
            past = cache[self.layer_idx]
        except (KeyError, IndexError):
            return None
        if not past:
            return None
        own = type(self).__name__
        if past.get("layer", own) != own:
            raise InputError(
                f"past_key_values: found states of a {past['layer']} as layer {self.layer_idx}; wanted those of a {own}"
            )
        found = [
            tuple(part.shape)
            for states in (past.get("conv_state"), past.get("recurrent_state"))
            for part in (states if isinstance(states, tuple | list) else (states,))
            if part is not None
        ]
        if found and found[0][0] != sequences:
            raise InputError(f"past_key_values: found states of {found[0][0]} sequences; wanted {sequences}")
        wanted = [*self._conv_shapes(sequences), *self._state_shapes(sequences)]
        if len(found) != len(wanted) or any(not _fits(*pair) for pair in zip(found, wanted, strict=True)):
            raise InputError(
                f"past_key_values: found states of the shapes {_listed(found)} as layer {self.layer_idx}; wanted "
                f"{_listed(wanted)}. Were they another layer's?"
            )
        return past

    def _conv_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        convolutions = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
        return [(sequences, *each.state_shape) for each in convolutions if each is not None]

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        """Of the states of the operation; None for a length that may be any."""
        return [(sequences, self.heads, self.head_dim, self.head_v_dim)]


def _expanded(heads: Heads, x: torch.Tensor, count: int, projection: LowRank | None, mixing: Any) -> torch.Tensor:
    """As ``heads.split``; or mixtures of the heads in place of repeated ones, and a projection of all added."""
    split = (
        heads.split(x, count) if mixing is None else torch.einsum("eh,bthd->bted", mixing, x.unflatten(-1, (count, -1)))
    )
    return split if projection is None else split + projection(x).unflatten(-1, (heads.count, -1))


def _fits(found: tuple[int, ...], wanted: tuple[Any, ...]) -> bool:
    return len(found) == len(wanted) and all(w in (None, f) for f, w in zip(found, wanted, strict=True))


def _listed(shapes: list[tuple[Any, ...]]) -> str:
    return ", ".join(str(tuple("*" if length is None else length for length in shape)) for shape in shapes) or "none"
