"""The operations by the names and with the arguments of flash-linear-attention."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers.regression import chunk_gka, chunk_mesa_net, gated_kalmanet, mesa_net  # noqa: E402


def same(found, wanted):
    assert len(found) == len(wanted)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_gated_kalmanet_takes_the_steps_of_the_paper(draw, semidefinite):
    q, k, v, g, gk, alpha = draw(1, 40)
    states, ends = semidefinite(2), torch.tensor([0, 15, 40])
    o, state = chunk_gka(q, k, v, g, gk, alpha, 0.3, 0.05, 20, states, True, ends)
    wanted, wanted_state = gated_kalmanet(
        q, k, v, g, gk, alpha, scale=0.3, ridge_ratio=0.05, solver="chebyshev", interval="frobenius", num_iter=20,
        initial_state=states, output_final_state=True, cu_seqlens=ends,
    )  # fmt: skip
    same((o, *state), (wanted, *wanted_state))
    same((o,), chunk_gka(q, k, v, g, gk, alpha, 0.3, 0.05, 20, states, cu_seqlens_cpu=ends)[:1])
    assert (chunk_gka(q, k, v, return_info=True)[2].iterations == 30).all()
    tight = chunk_gka(q, k, v, num_iter=None, solver="cg", rtol=1e-10, return_info=True)[2]
    assert tight.relative_residual.max() <= 1e-10


def test_mesa_net_takes_and_gives_its_states_one_by_one(draw, semidefinite):
    q, k, v, g, _, beta = draw(1, 40)
    (H, U), ends = semidefinite(2), torch.tensor([0, 15, 40])
    lamb = torch.linspace(0.3, 1, 16, dtype=torch.float64).view(2, 8)
    o, h_kk, h_kv = chunk_mesa_net(q, 3 * k, v, g, beta, lamb, H, U, True, 8, True, ends)
    unit = [part * torch.rsqrt(part.square().sum(-1, keepdim=True) + 1e-6) for part in (q, 3 * k)]
    wanted, state = mesa_net(
        *unit, v, g, beta, lamb, initial_state=(H, U), num_iter=8, output_final_state=True, cu_seqlens=ends
    )
    same((o, h_kk, h_kv), (wanted, *state))
    assert chunk_mesa_net(q, k, v, None, None, lamb)[1:] == (None, None)
    with pytest.raises(InputError, match="initial_state, h_kv: found NoneType"):
        chunk_mesa_net(q, k, v, g, beta, lamb, H[:1])


def test_both_keep_16_bits_outside_and_single_precision_within(draw):
    q, k, v, g, _, beta = draw(1, 40, dtype=torch.bfloat16)
    o, h_kk, h_kv = chunk_mesa_net(q, k, v, g, beta, torch.ones(2, 8), None, None, True, use_qk_l2norm_in_kernel=True)
    assert (o.dtype, h_kk.dtype, h_kv.dtype) == (torch.bfloat16, torch.float32, torch.float32)
