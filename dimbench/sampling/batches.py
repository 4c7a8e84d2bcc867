"""The images of a run in batches that are always cut and filled alike, so that no image depends on how it was run.

Batch i holds the images from i size on, the last one too: rows beyond the images that were asked for are drawn and
left out. So a batch is the same computation in every process, after every interruption, and in a longer run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from torch import Tensor

from dimbench.diffusion.guidance import LabelledNetwork
from dimbench.diffusion.process import Process
from dimbench.sampling import draw
from dimbench.sampling.labels import Labels
from dimbench.sampling.pipeline import one_behind
from dimbench.sampling.shards import Shards

OnBatches = Callable[[float], None]
"""Called with the batches drawn so far, the one in hand as a fraction."""


@dataclass
class Drawn:
    """What was drawn so far: network calls per image, None where no image had to be drawn; the kernels that ran;
    images and seconds of this run alone, those of decoding apart; all images, where they were gathered."""

    network_calls: int | None = None
    kernels: dict[str, str] = field(default_factory=dict)
    fresh: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    images: Any = None


@dataclass(frozen=True)
class Batches:
    """`size` images at a time from `network`; `decode` makes images (n, C, h, w) of what the sampler ends with, and
    `finish` what is kept of them."""

    network: LabelledNetwork
    process: Process
    labels: Labels
    settings: draw.Settings
    shape: tuple[int, int, int]
    size: int
    device: str
    decode: Callable[[Tensor], Tensor] | None
    finish: Callable[[Tensor], Tensor]
    drawn: Drawn = field(default_factory=Drawn)

    def draw(self, indices: Sequence[int], store: Shards | None, on_batches: OnBatches) -> Iterator[Tensor]:
        """The images of these batches, kept in `store`; `drawn` follows. On a GPU a batch is decoded and kept while
        the next one is drawn, and its seconds of decoding are then part of the other's."""
        latents = self._latents(indices, on_batches)

        def finished(made: tuple[int, Tensor]) -> Tensor:
            index, x = made
            images = self._decoded(x)
            if store:
                store.write(index, images)
            return images

        batches: Iterable[Tensor] = map(finished, latents)
        if self.device.startswith("cuda"):
            batches = one_behind(finished, latents)
        started = perf_counter()
        for images in batches:
            self.drawn.seconds += perf_counter() - started
            self.drawn.fresh += len(images)
            yield images
            started = perf_counter()

    def _latents(self, indices: Sequence[int], on_batches: OnBatches) -> Iterator[tuple[int, Tensor]]:
        for place, index in enumerate(indices):
            rows = range(index * self.size, (index + 1) * self.size)

            def on_step(k: int, place: int = place) -> None:
                on_batches(place + min(k, self.settings.steps - 1) / self.settings.steps)

            x, self.drawn.network_calls = draw.draw(
                self.network,
                self.process,
                rows,
                self.labels.of(rows),
                self.settings,
                shape=self.shape,
                device=self.device,
                on_step=on_step,
            )
            yield index, x

    def _decoded(self, x: Tensor) -> Tensor:
        if self.decode is None:
            return self.finish(x)
        started = perf_counter()
        images = self.decode(x)
        self.drawn.decode_seconds += perf_counter() - started
        return self.finish(images)
