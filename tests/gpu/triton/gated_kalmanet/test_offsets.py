"""Tokens and states that lie beyond 2^31 numbers, which only a large device holds."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.layers.functional import gated_kalmanet  # noqa: E402

pytestmark = pytest.mark.gpu
LAST = 100
NEEDED = 100 * 2**30  # bytes


def outcomes(leaves, tail, **options):
    """Output and gradients of the last tokens."""
    o, _ = gated_kalmanet(*leaves, form="triton", validate=False, **options)
    cotangent = torch.zeros_like(o)
    cotangent[:, -LAST:] = tail
    return [part[:, -LAST:].clone() for part in (o.detach(), *torch.autograd.grad(o, leaves, cotangent))]


@pytest.mark.parametrize(("heads", "D", "tokens"), [(64, 16, 2**21), (64, 128, 2**17 + 64)], ids=["tokens", "states"])
def test_a_sequence_far_behind_is_as_alone(heads, D, tokens):
    """The one before it is of zeros: nothing to iterate, but as long as all others in memory."""
    if torch.cuda.get_device_properties(0).total_memory < NEEDED:
        pytest.skip(f"wants {NEEDED >> 30} GiB of memory")
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (1, LAST, heads, D)
    drawn = [torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    drawn[0], drawn[1] = (torch.nn.functional.normalize(part, dim=-1) for part in drawn[:2])
    gates = -0.1 * torch.rand(shape[:3], generator=generator, device="cuda")
    alone = outcomes([part.requires_grad_() for part in (*drawn[:3], gates.clone())], drawn[3])
    leaves = []
    for part in (*drawn[:3], gates):
        whole = torch.zeros(1, tokens + LAST, *part.shape[2:], dtype=part.dtype, device="cuda")
        whole[:, tokens:] = part.detach()
        leaves.append(whole.requires_grad_())
    behind = outcomes(leaves, drawn[3], cu_seqlens=[0, tokens, tokens + LAST])
    for one, other in zip(behind, alone, strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0
