"""Caches: beams, batches, and what is not the layer's own."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers import Cache, DeltaNet, GatedDeltaNet, GatedKalmaNet  # noqa: E402

from .written_out import LAYERS, OF_LENGTH, SIZE  # noqa: E402

EACH = pytest.mark.parametrize("layer", LAYERS, ids=str)


def inputs(batch=3, tokens=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, SIZE, dtype=torch.float64, generator=generator)


def filled(net, x):
    with torch.no_grad():
        return net(x, past_key_values=Cache(), use_cache=True)[2]


@EACH
@pytest.mark.parametrize("beams", [[2, 2, 0], [1, 0, 2], [0]])
def test_beams_continue_from_the_states_of_others(layer, beams):
    net, x, more = layer.make().eval(), inputs(), inputs(len(beams), 2, seed=2)
    cache = filled(net, x)
    kept = cache[0]["recurrent_state"]
    cache.reorder_cache(torch.tensor(beams))
    with torch.no_grad():
        found = net(more, past_key_values=cache, use_cache=True)[0]
        wanted = net(torch.cat([x[beams], more], 1))[0][:, -2:]
    torch.testing.assert_close(found, wanted, atol=1e-11, rtol=0)
    assert cache.get_seq_length() == 9
    first = kept[0] if isinstance(kept, tuple) else kept
    assert first.shape[0] == 3  # states that were taken before are left as they are


@EACH
def test_each_sequence_continues_in_several_ways(layer):
    net, x, more = layer.make().eval(), inputs(2), inputs(4, 2, seed=2)
    cache = filled(net, x)
    cache.batch_repeat_interleave(2)
    with torch.no_grad():
        found = net(more, past_key_values=cache)[0]
        wanted = net(torch.cat([x[[0, 0, 1, 1]], more], 1))[0][:, -2:]
    torch.testing.assert_close(found, wanted, atol=1e-11, rtol=0)


def test_sequences_are_kept_by_their_numbers_and_forgotten_together():
    cache = Cache()
    cache.update(layer_idx=1, offset=4, recurrent_state=(torch.arange(3), torch.arange(3) + 10), conv_state=(None,))
    cache.batch_select_indices(torch.tensor([2, 0]))
    first, second = cache[1]["recurrent_state"]
    assert (first.tolist(), second.tolist(), cache[1]["conv_state"]) == ([2, 0], [12, 10], (None,))
    cache.reset()
    assert (len(cache), cache.get_seq_length(1)) == (0, 0)


@EACH
def test_the_states_of_another_layer_are_refused(layer):
    net = layer.make()
    other = GatedKalmaNet(**OF_LENGTH, layer_idx=0).double()
    with pytest.raises(
        ValueError, match=f"past_key_values: found states of a {layer} as layer 0; wanted those of a Ga"
    ):
        other(inputs(), past_key_values=filled(net, inputs()))
    with pytest.raises(
        ValueError, match=f"past_key_values: found states of a GatedKalmaNet.*; wanted those of a {layer}"
    ):
        net(inputs(), past_key_values=filled(other, inputs()))


def test_the_kind_of_layer_tells_where_shapes_do_not():
    net = GatedDeltaNet(hidden_size=SIZE, head_dim=6, num_heads=4, expand_v=1.0, layer_idx=0).double()
    other = DeltaNet(hidden_size=SIZE, num_heads=4, layer_idx=0).double()
    cache = filled(other, inputs())
    with pytest.raises(ValueError, match="past_key_values: found states of a DeltaNet as layer 0"):
        net(inputs(), past_key_values=cache)


class Foreign(dict):
    """A cache that keeps states alone, as those of other libraries do."""

    def update(self, *, layer_idx, offset, recurrent_state, conv_state):
        self[layer_idx] = {"recurrent_state": recurrent_state, "conv_state": conv_state}


@EACH
def test_caches_of_other_libraries_serve_and_their_shapes_are_looked_at(layer):
    net, x = layer.make().eval(), inputs()
    cache = Foreign()
    with torch.no_grad():
        whole = net(x)[0]
        first = net(x[:, :4], past_key_values=cache, use_cache=True)[0]
        second = net(x[:, 4:], past_key_values=cache, use_cache=True)[0]
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-11, rtol=0)
    state = cache[0]["recurrent_state"]
    cut = state[..., :-1] if isinstance(state, torch.Tensor) else (state[0][..., :-1], *state[1:])
    cache[0] = {**cache[0], "recurrent_state": cut}
    with pytest.raises(ValueError, match=r"past_key_values: found states of the shapes .*\. Were they another layer's"):
        net(x, past_key_values=cache)


@EACH
@pytest.mark.parametrize("packed", [False, True])
def test_a_cache_of_another_batch_is_refused(layer, packed):
    net = layer.make().eval()
    cache = filled(net, inputs())
    kept = cache[0]
    x, options = (inputs(1), {"cu_seqlens": torch.tensor([0, 4, 7])}) if packed else (inputs(2), {})
    with pytest.raises(ValueError, match="past_key_values: found states of 3 sequences; wanted 2"):
        net(x, past_key_values=cache, use_cache=True, **options)
    assert cache[0] is kept
    assert cache.get_seq_length() == 7


def test_a_layer_begins_anew_where_the_cache_has_only_later_ones():
    first, second = (DeltaNet(hidden_size=SIZE, num_heads=4, layer_idx=i).double().eval() for i in (0, 1))
    cache = filled(second, inputs())
    with torch.no_grad():
        torch.testing.assert_close(first(inputs(), past_key_values=cache)[0], first(inputs())[0])
