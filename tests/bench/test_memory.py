from __future__ import annotations

import subprocess
import sys
from mmap import PAGESIZE, mmap

import pytest
import torch
from torch import Tensor, nn

from dimbench.bench import memory
from dimbench.bench.memory import LivePeak, Probe
from dimbench.counting.bill import trace


class Chain(nn.Module):
    """Keeps x, makes y of 4 times its size, and a sum: at most x's successor h and y lie there together."""

    def forward(self, x: Tensor) -> Tensor:
        h = x + 1
        y = torch.cat([h, h, h, h])
        del h
        return y.sum(0)


def test_the_live_peak_follows_tensors_as_they_come_and_go() -> None:
    x = torch.empty(1000, device="meta")
    with LivePeak() as live:
        trace(Chain(), {"x": x}, 1)
    assert live.peak == 4 * (1000 + 4000)
    assert live.live == 0


def test_views_hold_what_they_look_at_and_add_nothing() -> None:
    with LivePeak() as live:
        a = torch.empty(100, device="meta")
        view = a.view(10, 10)[2:]
        del a
        assert live.live == 400
        del view
        assert live.live == 0
    assert live.peak == 400


def test_views_of_what_was_there_before_add_nothing() -> None:
    before = torch.empty(100, device="meta")
    with torch.no_grad(), LivePeak() as live:
        rows = before.view(10, 10)
        assert rows.shape == (10, 10)
    assert live.peak == 0


def test_activations_are_the_peak_above_what_was_there() -> None:
    probe = Probe(lambda: None, lambda: 70, lambda: 100, lambda: 120)
    assert memory.peaks(probe, 70) == memory.Peaks(peak=100, reserved=120, activations=30)
    assert memory.peaks(probe, 130).activations == 0


def test_a_process_probe_sees_what_is_touched_after_the_reset() -> None:
    probe = memory.process_probe()
    probe.reset()
    before = probe.used()
    with mmap(-1, 2**26) as block:  # new pages, which a tensor's need not be where another test left some
        block[::PAGESIZE] = bytes(2**26 // PAGESIZE)
        seen = memory.peaks(probe, before).activations
    # Other threads of the process may touch pages, too: between the block and half as much again.
    assert 2**26 * 0.9 < seen < 2**26 * 1.5


def test_an_allocation_beyond_the_limit_fails_in_the_process_that_asks() -> None:
    script = (
        "import torch; from dimbench.bench import memory\n"
        "memory.limit_process(2**28)\n"
        "try: torch.ones(2**28)\n"
        "except Exception as error: print(memory.is_out_of_memory(error))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_only_a_want_of_memory_is_out_of_memory(error: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(error) is expected
