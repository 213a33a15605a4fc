"""What every launch asks first."""

import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from resolvent.errors import InputError  # noqa: E402
from resolvent.gpu.triton import launching  # noqa: E402


def test_tensors_of_two_devices_are_refused(monkeypatch):
    monkeypatch.setattr(launching, "INTERPRETED", True)
    here, there = torch.ones(2), torch.ones(2, device="meta")
    launching.check_devices(x=here, y=None, z=here)
    with pytest.raises(InputError, match=r"z: found a tensor on meta; wanted one on cpu, where x is: z.to\(x.device\)"):
        launching.check_devices(x=here, y=None, z=there)


def test_tensors_of_the_host_are_refused(monkeypatch):
    monkeypatch.setattr(launching, "INTERPRETED", False)
    with pytest.raises(InputError, match=r"x: found a tensor on cpu; Triton wants a CUDA device.*x.cuda\(\)"):
        launching.check_devices(x=torch.ones(2))


@pytest.mark.parametrize("interpreted", [False, True])
def test_the_table_has_what_the_interpreter_leaves_out(interpreted, monkeypatch):
    monkeypatch.setattr(launching, "INTERPRETED", interpreted)
    configurations = [{"SIZE": 64, "num_warps": 2, "num_stages": 3}, {"SIZE": 32, "num_warps": 1, "num_stages": 2}]

    @triton.jit
    def nothing(x, SIZE: triton.language.constexpr):
        pass

    kernel = launching.tuned(configurations, ("x",))(nothing)
    found = [(c.kwargs["SIZE"], c.num_warps, c.num_stages) for c in kernel.stated]
    assert found == [(64, 2, 3), (32, 1, 2)]
    assert len(kernel.configs) == (1 if interpreted else 2)
    assert configurations[0] == {"SIZE": 64, "num_warps": 2, "num_stages": 3}
