from __future__ import annotations

import torch

from dimbench.bench.operator_times import shares


def test_the_operator_that_takes_the_time_comes_first() -> None:
    x, y = torch.ones(1500, 1500), torch.ones(8)  # some 50 ms, more than a busy machine takes a thread away for
    found = shares(lambda: (x @ x, y + y), on_gpu=False)
    assert next(iter(found)) == "mm"
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert 0 < sum(found.values()) <= 1 + 1e-12  # each share is rounded once
