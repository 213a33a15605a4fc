"""Muon on parameters that several processes share: the numbers of one process, and one gather a step."""

import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from resolvent.layers.optim import Muon
from resolvent.layers.optim.sharing import _owners

SHAPES = [(7, 4), (4, 7), (3, 5), (2, 3, 4), (5, 2)]
OPTIONS = {"lr": 0.1, "weight_decay": 0.2, "compute_dtype": torch.float64}


def alone(steps=2):
    draw = torch.Generator().manual_seed(0)
    ps = [torch.nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64)) for shape in SHAPES]
    gradients = [[torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in SHAPES] for _ in range(steps)]
    return ps, gradients


def stepped(optimizer, ps, gradients):
    for some in gradients:
        for p, g in zip(ps, some, strict=True):
            p.grad = g.clone()
        optimizer.step()


def process(rank, file):
    """One of two processes; asserts that it ends where one alone would, however the parameters are placed."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    wanted, gradients = alone()
    stepped(Muon(wanted, **OPTIONS), wanted, gradients)
    gathers, gather = [], dist.all_gather_into_tensor

    def counted(*arguments, **options):
        gathers.append(1)
        return gather(*arguments, **options)

    for placement in (None, Replicate(), Shard(0), Shard(1)):
        ps, gradients = alone()
        group = None
        if placement is None:
            group = dist.group.WORLD
        else:
            ps = [torch.nn.Parameter(distribute_tensor(p.detach(), mesh, [placement])) for p in ps]
            gradients = [[distribute_tensor(g, mesh, [placement]) for g in some] for some in gradients]
        dist.all_gather_into_tensor = counted
        stepped(Muon(ps, process_group=group, **OPTIONS), ps, gradients)
        dist.all_gather_into_tensor = gather
        assert len(gathers) == len(gradients)
        gathers.clear()
        found = [p.detach() if placement is None else p.detach().full_tensor() for p in ps]
        for p, q in zip(found, wanted, strict=True):
            torch.testing.assert_close(p, q.detach(), rtol=0, atol=1e-13)
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_two_processes_end_where_one_does(tmp_path):
    command = [sys.executable, __file__, str(tmp_path / "meeting")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen([*command, str(rank)], **pipes) for rank in (0, 1)]
    for one in both:
        said, _ = one.communicate(timeout=300)
        assert one.returncode == 0, said


def test_work_is_shared_by_its_cost():
    costs = [5, 1, 1, 1, 1, 1, 4]
    owners = _owners(costs, 2)
    assert [sum(c for c, o in zip(costs, owners, strict=True) if o == rank) for rank in (0, 1)] == [7, 7]


if __name__ == "__main__":
    process(int(sys.argv[2]), sys.argv[1])
