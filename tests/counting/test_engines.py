"""Other people's counters, each in a process of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.counting import engines
from dimbench.counting.bill import Inputs, trace
from dimbench.errors import DimbenchError


class Foreign(nn.Module):
    """Called by name, with a number, and answered by a dict; keys have fewer heads than queries."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16)

    def forward(self, x: Tensor, scale: float, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        queries = self.layer(x).unflatten(-1, (4, 4)).transpose(1, 2)
        keys = queries[:, :2]
        out = F.scaled_dot_product_attention(queries, keys, value=keys, attn_mask=mask, enable_gqa=True)
        return {"out": torch.einsum("nhle,nhme->nhlm", out, out) * scale}


def foreign() -> tuple[nn.Module, Inputs]:
    return Foreign().eval(), ([torch.zeros(2, 5, 8)], {"scale": 2.0, "mask": torch.zeros(5, 5)})


def encoder() -> tuple[nn.Module, Inputs]:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), ([torch.zeros(2, 5, 8)], {})


def test_all_counters_agree_on_a_module_that_is_called_by_name() -> None:
    counts, failed = engines.compare(foreign, trace(*foreign(), 2))
    expected = {"linear": 2 * 5 * 8 * 16, "attention": 2 * 4 * 5 * 5 * 8, "matmul": 2 * 4 * 5 * 5 * 4}
    assert counts == {"dimbench": expected, "fvcore": expected, "torch": expected}
    assert failed == {}


def test_a_counter_that_saw_nothing_says_so() -> None:
    """torch runs an encoder layer in eval mode as one kernel, of which its counter knows nothing."""
    counts, _ = engines.compare(encoder, trace(*encoder(), 2))
    assert counts["torch"] == {}
    assert sum(counts["dimbench"].values()) == 2 * 5 * (4 * 64 + 2 * 128) + 2 * 5 * 5 * 16


def test_what_a_counter_patches_stays_in_its_process() -> None:
    def patch_and_fail() -> None:
        F.linear = None  # type: ignore[assignment]
        raise ValueError("a long story\nwith an end")

    plain = F.linear
    with pytest.raises(DimbenchError, match=r"^ValueError: with an end$"):
        engines.apart(patch_and_fail)
    assert F.linear is plain


def test_a_counter_that_dies_is_named_with_its_code() -> None:
    with pytest.raises(DimbenchError, match="code 3"):
        engines.apart(lambda: os._exit(3))


def test_a_counter_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no trace of this")

    monkeypatch.setattr(engines, "fvcore", broken)
    counts, failed = engines.compare(foreign, trace(*foreign(), 2))
    assert failed == {"fvcore": "RuntimeError: no trace of this"}
    assert counts["torch"] == counts["dimbench"]
