"""Which class an image gets: decided by the seed and the image's index alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dimbench.backbone import Classes
from dimbench.errors import UsageError
from dimbench.sampling.sample_noise import mixed

RANDOM, BALANCED = "random", "balanced"

_STREAM = 1  # sets the seed of an image's label apart from that of its noise


@dataclass(frozen=True)
class Labels:
    """`classes` in turn, or each image's drawn uniformly from them where `rule` is "random"."""

    rule: str
    classes: tuple[int, ...]
    seed: int = 0

    def __call__(self, k: int) -> int:
        """The label of image k."""
        place = mixed(mixed(self.seed, k), _STREAM) if self.rule == RANDOM else k
        return self.classes[place % len(self.classes)]

    def of(self, rows: Sequence[int]) -> list[int]:
        """The labels of several images."""
        return [self(k) for k in rows]


def find_labels(text: str | None, known: Classes, seed: int) -> Labels:
    """The rule that `text` names: random, balanced (all classes in turn; None means it too), or labels such as 0,1,2.

    A network that was trained without labels gets its "no class" where none are named.
    """
    if text is None or text in (BALANCED, RANDOM):
        if known.trained_without and known.null is not None:
            return Labels("no class", (known.null,))
        return Labels(text or BALANCED, tuple(range(known.count)), seed)
    try:
        classes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--labels {text!r} is not understood; give random, balanced, or numbers such as 3 or 0,1"
        ) from None
    highest = known.count - 1 if known.null is None else known.null
    if wrong := [label for label in classes if not 0 <= label <= highest]:
        raise UsageError(f"label {wrong[0]} is out of range; give labels from 0 to {highest}")
    return Labels(",".join(map(str, classes)), classes)
