"""The batch with the most images per second that also fits with room to spare. Pure: a trial is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST = 4096  # images; the rate has levelled off long before
HEADROOM = 0.05  # of the memory stays free, for what fragments
GAIN = 1.02  # a doubling that brings less ...
PATIENCE = 2  # ... this often in a row ends the search
REPEATS = 2  # more runs that the chosen batch has to survive


@dataclass(frozen=True)
class Trial:
    """`images_per_second` None: it ran out of memory; `memory_share` of all the device's memory at the peak."""

    batch: int
    images_per_second: float | None
    memory_share: float = 0.0

    @property
    def fits(self) -> bool:
        return self.images_per_second is not None and self.memory_share <= 1 - HEADROOM

    @property
    def rate(self) -> float:
        return self.images_per_second or 0.0


Try = Callable[[int], Trial]


def search(attempt: Try) -> tuple[int | None, list[Trial]]:
    """The best batch, None where not even 1 fits, and all trials in order.

    Doubles until memory or the gain ends; where memory ended it while the rate still rose, bisects between the last
    that fitted and the first that did not; then repeats the fastest, and takes the next where a repeat fails.
    """
    trials: list[Trial] = []

    def run(batch: int) -> Trial:
        trials.append(attempt(batch))
        return trials[-1]

    batch, last = 1, run(1)
    while last.fits and batch < MOST and not _levelled(trials):
        batch *= 2
        last = run(batch)
    low, high = batch // 2, batch
    if not last.fits and low and _fastest(trials).batch == low:
        while high - low > max(1, low // 8):
            middle = (low + high) // 2
            low, high = (middle, high) if run(middle).fits else (low, middle)
    for candidate in sorted((trial for trial in list(trials) if trial.fits), key=lambda trial: -trial.rate):
        if all(run(candidate.batch).fits for _ in range(REPEATS)):
            return candidate.batch, trials
    return None, trials


def _fastest(trials: list[Trial]) -> Trial:
    return max((trial for trial in trials if trial.fits), key=lambda trial: trial.rate)


def _levelled(trials: list[Trial]) -> bool:
    """Whether the last doublings brought nothing over the best before them."""
    if len(trials) <= PATIENCE:
        return False
    before = max(trial.rate for trial in trials[:-PATIENCE])
    return all(trial.rate < GAIN * before for trial in trials[-PATIENCE:])
