from __future__ import annotations

import torch

from dimbench.bench.operator_times import shares


def test_the_operator_that_takes_the_time_comes_first() -> None:
    x, y = torch.ones(600, 600), torch.ones(8)
    found = shares(lambda: (x @ x, y + y), on_gpu=False)
    assert next(iter(found)) == "mm"
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert 0 < sum(found.values()) <= 1
