"""Benchmarks for asv. Threads are pinned here, before any library starts a pool; an outer setting wins."""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, str(min(2, os.cpu_count() or 1)))
