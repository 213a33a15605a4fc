"""Short convolutions against torch.nn.functional.conv1d."""

import pytest
import torch
from torch.nn.functional import conv1d, pad, silu

from resolvent.layers import ShortConvolution


def reference(x, weight):
    """A causal depthwise convolution of each sequence by itself."""
    width = weight.shape[-1]
    return silu(conv1d(pad(x.transpose(1, 2), (width - 1, 0)), weight, groups=weight.shape[0]).transpose(1, 2))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_it_is_a_causal_depthwise_convolution(width):
    torch.manual_seed(width)
    layer, x = ShortConvolution(6, width).double(), torch.randn(3, 9, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], reference(x, layer.weight), atol=1e-14, rtol=0)


@pytest.mark.parametrize("lengths", [None, [5, 4]])
def test_bias_and_activation(lengths):
    """As torch's convolution has them: the bias inside the activation, and no activation where none is wanted."""
    torch.manual_seed(0)
    layer, x = ShortConvolution(4, 3, bias=True).double(), torch.randn(1, 9, 4, dtype=torch.float64)
    plain = ShortConvolution(4, 3, bias=True, activation=None).double()
    plain.load_state_dict(layer.state_dict())
    parts = x.split(lengths, 1) if lengths else [x]
    wanted = torch.cat(
        [conv1d(pad(part.mT, (2, 0)), layer.weight, layer.bias, groups=4).transpose(1, 2) for part in parts], 1
    )
    torch.testing.assert_close(plain(x, lengths=lengths)[0], wanted, atol=1e-14, rtol=0)
    torch.testing.assert_close(layer(x, lengths=lengths)[0], silu(wanted), atol=1e-14, rtol=0)
    assert 0.3 < ShortConvolution(500, 4, bias=True).bias.abs().max() <= 0.5


@pytest.mark.parametrize("lengths", [[5, 4], [1, 0, 2, 6], [9], [0, 9, 0]])
def test_packed_sequences_are_as_if_alone(lengths):
    torch.manual_seed(0)
    layer, x = ShortConvolution(4, 4).double(), torch.randn(1, 9, 4, dtype=torch.float64)
    y, state = layer(x, lengths=lengths)
    for part, whole, last in zip(x.split(lengths, 1), y.split(lengths, 1), state, strict=True):
        alone, own = layer(part)
        torch.testing.assert_close(whole, alone, atol=1e-14, rtol=0)
        torch.testing.assert_close(last, own[0], atol=0, rtol=0)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("packed", [False, True])
def test_it_continues_where_it_was_cut(cut, packed):
    torch.manual_seed(1)
    layer, x = ShortConvolution(4, 4).double(), torch.randn(1, 9, 4, dtype=torch.float64)
    first, state = layer(x[:, :cut], lengths=[cut] if packed else None)
    second, end = layer(x[:, cut:], state, lengths=[9 - cut] if packed else None)
    whole, last = layer(x)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-14, rtol=0)
    torch.testing.assert_close(end, last, atol=0, rtol=0)


def test_width_must_be_positive():
    with pytest.raises(ValueError, match="conv_size: found 0"):
        ShortConvolution(4, 0)


def test_another_activation_is_refused():
    with pytest.raises(ValueError, match="activation: found 'relu'; wanted 'silu' or None"):
        ShortConvolution(4, 3, activation="relu")


def test_another_width_names_the_one_that_was_wanted():
    with pytest.raises(ValueError, match=r"x: found shape \(2, 5, 7\); wanted \(B, T, 8\), where 8 is channels"):
        ShortConvolution(8, 4)(torch.ones(2, 5, 7))
