"""All 2**32 words of float32, format by format: minutes each, hence only where asked for with -m exhaustive."""

import numpy as np
import pytest

from resolvent.precision import round

STORED = {
    "bf16": "bfloat16", "fp16": None, "fp8_e5m2": "float8_e5m2", "fp8_e4m3fn": "float8_e4m3fn",
    "fp8_e4m3": "float8_e4m3", "fp6_e2m3": "float6_e2m3fn", "fp6_e3m2": "float6_e3m2fn", "fp4_e2m1": "float4_e2m1fn",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _asked_for(request):
    if "exhaustive" not in request.config.option.markexpr:
        pytest.skip("takes minutes; -m exhaustive runs it")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", STORED)
def test_every_word(name):
    """Against NumPy's float16 and ml_dtypes, which round float32 once; NaN only as being NaN."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    stored = getattr(ml_dtypes, STORED[name]) if STORED[name] else np.float16
    size = 1 << 22
    found = np.empty(size, np.float32)
    for start in range(0, 1 << 32, size):
        x = np.arange(start, start + size, dtype=np.uint32).view(np.float32)
        round(x, name, out=found)
        with np.errstate(all="ignore"):
            wanted = x.astype(stored).astype(np.float32)
        same = found.view(np.uint32) == wanted.view(np.uint32)
        if not same.all():
            x, a, b = x[~same], found[~same], wanted[~same]
            if name[:3] in ("fp6", "fp4"):  # the stored format has no word for them
                keep = np.isfinite(x)
                x, a, b = x[keep], a[keep], b[keep]
            assert (np.isnan(a) & np.isnan(b)).all(), (x[:5], a[:5], b[:5])
