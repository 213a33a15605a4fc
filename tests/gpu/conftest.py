"""CuPy without a device, for the tests of what is made for it."""

import sys

import pytest

from . import cuda_on_host, host_cupy, nvrtc


@pytest.fixture
def cupy(request, monkeypatch):
    """What stands for CuPy: its arrays are NumPy's beneath, its kernels compiled for the host."""
    if request.config.getoption("all") and nvrtc.library() is not None:
        monkeypatch.setattr(cuda_on_host, "KINDS", nvrtc.architectures())
    if cuda_on_host.COMPILER is None or sys.platform != "linux":
        pytest.skip("no C++ compiler of Linux, which stands for CUDA's")
    with host_cupy.installed() as module:
        yield module
