"""Residual norms followed side by side: each as one is followed alone."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resolvent.solvers.driver.status import Status
from resolvent.solvers.driver.stopping import Watch, Watches

U = 2.0**-20
NORMS = st.one_of(
    st.sampled_from([0.0, 1.0, 0.95, 0.9, 0.8999, 1e-7, 1e-6, 2.0**20, 2.0**21, math.inf, math.nan]),
    st.floats(1e-8, 10.0),
)


@given(st.lists(st.lists(NORMS, min_size=3, max_size=3), min_size=1, max_size=60), st.data())
def test_each_is_followed_as_if_it_were_alone(rows, data):
    first, floor = np.array([1.0, 2.0, 0.5]), np.array([1e-7, 1e-3, 0.0])
    together = Watches(first.copy(), U, 4)
    alone = [Watch(float(first[k]), U, lambda k=k: float(floor[k]), 4) for k in range(3)]
    iterations, over = np.zeros(3, int), np.zeros(3, bool)
    for row in rows:
        which = np.array(data.draw(st.lists(st.booleans(), min_size=3, max_size=3))) & ~over
        iterations = iterations + which
        diverged, stagnated = together.observe(which, iterations, np.array(row), lambda: floor)
        for k in np.flatnonzero(which):
            verdict = alone[k].observe(int(iterations[k]), row[k])
            assert bool(diverged[k]) == (verdict is Status.DIVERGED)
            assert bool(stagnated[k]) == (verdict is Status.STAGNATED)
            seen, wanted = vars(together.of(int(k), float(floor[k]))), vars(alone[k])
            for name in wanted.keys() - {"floor"}:
                assert seen[name] == wanted[name] or (seen[name] != seen[name] and wanted[name] != wanted[name]), name
        assert not (diverged | stagnated)[~which].any()
        over = over | diverged | stagnated
