"""The images of a run in batches that are always cut and filled alike, so that no image depends on how it was run.

Batch i holds the images from i size on, the last one too: rows beyond the images that were asked for are drawn and
left out. So a batch is the same computation in every process, after every interruption, and in a longer run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dimbench.kernels import onednn
from dimbench.sampling.pipeline import one_behind
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.sampling.shards import Shards

OnBatches = Callable[[float], None]
"""Called with the batches drawn so far, the one in hand as a fraction."""


@dataclass
class Drawn:
    """What was drawn so far: images of this run alone, `calls` of the network for each of them, added up, and seconds,
    those of decoding apart; all images, where they were gathered."""

    fresh: int = 0
    calls: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    images: Any = None

    @property
    def network_calls(self) -> float | None:
        """Per image, the mean where the sampler chooses for each batch; None where no image had to be drawn."""
        if not self.fresh:
            return None
        return self.calls / self.fresh if self.calls % self.fresh else self.calls // self.fresh


@dataclass(frozen=True)
class Batches:
    """`size` samples of `run` at a time with the noise of `seed`; `finish` makes what is kept of them."""

    run: Run
    seed: int
    size: int
    device: str
    finish: Callable[[Tensor], Tensor]
    drawn: Drawn = field(default_factory=Drawn)

    def draw(self, indices: Iterable[int], store: Shards | None, on_batches: OnBatches) -> Iterator[Tensor]:
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

    def _latents(self, indices: Iterable[int], on_batches: OnBatches) -> Iterator[tuple[int, Tensor]]:
        steps = self.run.settings.steps
        for place, index in enumerate(indices):
            noise = SampleNoise(self.seed, range(index * self.size, (index + 1) * self.size), self.device)

            def on_step(k: int, place: int = place) -> None:
                on_batches(place + min(k, steps - 1) / steps)

            with torch.inference_mode(), onednn.linear_layers():
                x = self.run.sample(noise, on_step)
            self.drawn.calls += self.run.calls * self.size
            yield index, x.cpu()

    def _decoded(self, x: Tensor) -> Tensor:
        if self.run.decode is None:
            return self.finish(x)
        started = perf_counter()
        images = self.run.decode(x)
        self.drawn.decode_seconds += perf_counter() - started
        return self.finish(images)
