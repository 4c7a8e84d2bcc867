"""How ranks share out batches, on a clock of the test's own."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from dimbench import __version__
from dimbench.errors import UsageError
from dimbench.launcher import Launch
from dimbench.sampling import ranks
from dimbench.sampling.ranks import Ranks, Watch, shared_out

PATIENCE = 30.0


@dataclass
class Cluster:
    """Ranks by the seconds they take for a batch; those in `lost` stop for good at that time."""

    seconds: Sequence[float]
    lost: Mapping[int, float] = field(default_factory=dict)
    drawn: list[int] = field(default_factory=list)
    now: float = 0.0

    def run(self, batches: Sequence[int]) -> float:
        """Draw the batches; the time when the last rank that lives asks in vain."""
        numbers, events, order = count(), list[tuple[float, int, int, int, Iterator[int]]](), count()
        started = self.now

        def take_next(rank: int, turns: Iterator[int]) -> None:
            batch = next(turns, None)
            if batch is not None:
                end = self.now + self.seconds[rank]
                if end < self.lost.get(rank, math.inf):
                    heapq.heappush(events, (end, next(order), rank, batch, turns))

        for rank in range(len(self.seconds)):
            if started < self.lost.get(rank, math.inf):
                take_next(rank, shared_out(batches, lambda: next(numbers)))
        while events:
            self.now, _, rank, batch, turns = heapq.heappop(events)
            self.drawn.append(batch)
            take_next(rank, turns)
        return self.now - started


def ideal(batches: int, seconds: Sequence[float]) -> float:
    return batches / sum(1 / each for each in seconds)


@pytest.mark.parametrize("ranks", [1, 2, 7, 64])
def test_a_straggler_holds_up_no_more_than_the_batch_in_its_hand(ranks: int) -> None:
    cluster = Cluster([10.0] * (ranks - 1) + [40.0])
    assert cluster.run(range(400)) <= ideal(400, cluster.seconds) + 40
    assert sorted(cluster.drawn) == list(range(400))


def test_what_two_lost_ranks_leave_is_shared_out_again_within_a_batch() -> None:
    cluster = Cluster([10.0] * 6 + [25.0, 10.0], lost={2: 95.0, 5: 203.0})
    took = cluster.run(range(400))
    alive = [seconds for rank, seconds in enumerate(cluster.seconds) if rank not in cluster.lost]
    assert took <= ideal(400 - len(cluster.lost), alive) + max(alive), "the others draw what the lost would have drawn"
    absent = sorted(set(range(400)) - set(cluster.drawn))
    assert len(absent) == 2, "what each had in hand"
    assert cluster.run(absent) <= max(alive), "a new start"
    assert sorted(cluster.drawn) == list(range(400)), "nothing is drawn twice"


def test_the_lost_are_noticed_by_the_clock_of_the_one_who_waits() -> None:
    now = 1000.0
    watch = Watch(PATIENCE, lambda: now)
    assert watch.silent({1: b"7", 2: b"1"}) == []
    now += PATIENCE
    assert watch.silent({1: b"7", 2: b"2"}) == []
    now += 1
    assert watch.silent({1: b"7", 2: b"2"}) == [1]
    assert watch.silent({1: b"8", 2: b"2"}) == [], "it was slow, and goes on"


class Told(Ranks):
    """Ranks of whom the second says `other` of its GPU or version."""

    def __init__(self, other: Mapping[str, str], gpus: Sequence[str]) -> None:
        super().__init__(Launch(0, 2, 0, 2, "srun"))
        self.other, self.gpus = other, gpus

    def gathered(self, value: Any) -> list[Any]:
        words, versions, _ = value
        return [(words, versions, self.gpus[0]), (words, {**versions, **self.other}, self.gpus[1])]


@pytest.mark.parametrize(
    ("other", "gpus", "said"),
    [
        ({}, ("GPU-a", "GPU-a"), "rank 1 has no GPU of its own but the one of rank 0, GPU-a; start fewer processes"),
        ({"commit": "0" * 12}, ("GPU-a", "GPU-b"), "rank 0 runs commit ffffffffffff and rank 1 000000000000; install"),
        ({"code": "0" * 8}, ("GPU-a", "GPU-b"), "rank 0 runs code abcdef01 and rank 1 00000000; install the same"),
        ({"dimbench": "0.0.9"}, ("GPU-a", "GPU-b"), f"rank 0 runs dimbench {__version__} and rank 1 0.0.9; install"),
        ({"torch": "1.0"}, ("GPU-a", "GPU-b"), "and rank 1 1.0; install the same"),
    ],
)
def test_ranks_that_do_not_fit_together_are_named(
    other: Mapping[str, str], gpus: Sequence[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["dimbench", "fid", "dit-digits", "--device", "cuda"])
    monkeypatch.setattr(ranks, "_gpu", lambda *_: gpus[0])
    monkeypatch.setattr(ranks.results, "describe_machine", lambda: {"commit": "f" * 12})
    monkeypatch.setattr(ranks.results, "code", lambda: "abcdef01")
    ranks._check_alike(Told({}, ("GPU-a", "GPU-b")))
    with pytest.raises(UsageError, match=re.escape(said)):
        ranks._check_alike(Told(other, gpus))


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["--device", "cuda"], "GPU 1"),
        (["--device=cuda"], "GPU 1"),
        (["--device", "cuda:0"], "GPU 0"),
        (["--device=cuda:0"], "GPU 0"),
        (["--device=cuda:7"], None),
        (["--device", "cpu"], None),
    ],
)
def test_a_gpu_is_known_however_it_is_named(
    words: list[str], seen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid=f"GPU {device.index}"))
    assert ranks._gpu(Ranks(Launch(1, 2, 1, 2, "srun")), ["fid", "dit-digits", *words]) == seen


@pytest.mark.parametrize("said", ["soon", "-1", "0", "nan", "inf", ""])
def test_a_time_out_that_is_none_is_refused_before_the_ranks_meet(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "DIMBENCH_PATIENCE": said}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    refused = pytest.raises(UsageError, match=re.escape(f"DIMBENCH_PATIENCE={said!r} is no number of seconds"))
    with refused, ranks.joined():
        pass
