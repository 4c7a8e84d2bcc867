from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    """What a kernel leaves unwritten shows as NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)
