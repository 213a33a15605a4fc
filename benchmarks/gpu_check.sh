#!/usr/bin/env bash
# The tests that need a device, then every figure of it, in at most eight minutes, with what is installed and no more:
#     PYTHON=/path/to/python benchmarks/gpu_check.sh
# Results are in benchmarks/results. Ends with 0 if all tests passed and all was measured, 2 where there is no device.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
mkdir -p build/gpu
log=build/gpu/tests.log
# The repository root is the package, also where another one is installed.
ln -sfn ../.. build/gpu/resolvent
export PYTHONPATH="$PWD/build/gpu${PYTHONPATH:+:$PYTHONPATH}"
"$python" - <<'END' || { echo "No CUDA device that torch can use: nothing was tested or measured" >&2; exit 2; }
import sys
try:
    import torch
except ImportError:
    sys.exit(1)
sys.exit(not torch.cuda.is_available())
END
# Interrupted rather than ended, pytest still says how far it came.
timeout --signal=INT --kill-after=10 170 "$python" -m pytest -q -m gpu -p no:cacheprovider tests/gpu tests >"$log" 2>&1
tests=$?
[ "$tests" -eq 124 ] && echo "the tests took longer than 170 s, and were interrupted" >>"$log"
tail -n 20 "$log"
"$python" benchmarks/gpu_figures.py --seconds 290 --tests "$log"
figures=$?
exit $((tests > 0 || figures > 0))
