from __future__ import annotations

from collections.abc import Callable

from dimbench.bench import best_batch
from dimbench.bench.best_batch import Trial


def device(rate: Callable[[int], float], holds: int, share: float = 0.5) -> Callable[[int], Trial]:
    """A device that holds so many images."""
    return lambda batch: Trial(batch, rate(batch) if batch <= holds else None, share)


def test_a_rate_that_rises_to_the_end_is_followed_to_the_last_batch_that_fits_well() -> None:
    chosen, trials = best_batch.search(device(lambda batch: batch / (batch + 50), holds=100))
    tried = [trial.batch for trial in trials]
    assert tried[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert chosen == 96  # bisected to an eighth
    assert tried[-best_batch.REPEATS :] == [96, 96]


def test_the_fastest_wins_over_the_largest() -> None:
    chosen, trials = best_batch.search(device(lambda batch: -abs(batch - 8) + 100, holds=10**6))
    assert chosen == 8
    assert max(trial.batch for trial in trials) == 32  # two doublings without a gain end it


def test_headroom_is_kept() -> None:
    chosen, _ = best_batch.search(lambda batch: Trial(batch, float(batch), batch / 64))
    assert chosen == 60  # 60/64 is the most below 95 %


def test_a_batch_that_fails_when_repeated_gives_way_to_the_next() -> None:
    seen: dict[int, int] = {}

    def fragile(batch: int) -> Trial:
        seen[batch] = seen.get(batch, 0) + 1
        return Trial(batch, float(min(batch, 4)) if batch < 4 or seen[batch] == 1 else None)

    assert best_batch.search(fragile)[0] == 2


def test_nothing_fits() -> None:
    chosen, trials = best_batch.search(device(float, holds=0))
    assert chosen is None
    assert len(trials) == 1
