"""What an autoencoder makes of real images, beside them: rFID, and how like each picture is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimbench.data.pixels import UINT8_RULE, to_uint8
from dimbench.errors import UsageError
from dimbench.progress import say
from dimbench.quality import networks as comparing
from dimbench.quality import plan as planning
from dimbench.quality.evaluating import Evaluated
from dimbench.quality.features import as_rgb
from dimbench.quality.images import open_images
from dimbench.quality.likeness import PictureLikeness
from dimbench.quality.networks import Networks
from dimbench.quality.protocol import protocol
from dimbench.quality.references import read_reference
from dimbench.results import Record
from dimbench.sampling import decoding, ranks
from dimbench.sampling import request as requests

AT_ONCE = 16  # images through the autoencoder


class Rebuilt:
    """The images at `place`, encoded to the mean of the posterior and decoded again, against those themselves or
    another `reference`. All is opened and checked. UsageError for images whose sides are no multiples of the stride."""

    def __init__(
        self, place: Path, autoencoder: str, reference: Path | None, networks: Networks, device: str = "cpu"
    ) -> None:
        if (world := ranks.here().world) > 1:
            raise UsageError(f"{world} processes were started, and rebuilding images is not shared out; start one")
        self.name, self.images, self.device = autoencoder, open_images(place), device
        missing = [*decoding.missing(autoencoder), *(found := networks.found(self.images.size)).missing]
        requests.refuse_if_missing(f"rebuilding {place.name} by {autoencoder}", missing)
        self.autoencoder = decoding.load(autoencoder).to(device, torch.float32)
        if any(side % self.autoencoder.stride for side in self.images.size):
            height, width = self.images.size
            raise UsageError(
                f"the images are of {height} x {width} pixels, and {autoencoder} takes sides that are multiples of "
                f"{self.autoencoder.stride}; crop them"
            )
        against = comparing.opened_reference(reference, self.images.size) or read_reference(place)
        self.comparison = comparing.Against(self.images.size, against, found, device)
        self.likeness = PictureLikeness()

    def plan(self) -> str:
        """What looking at the images takes; the autoencoder comes on top."""
        to_read = self.comparison.reference.images_to_read
        looked = planning.of_images(self.images, to_read, self.comparison.extractor, comparing.AT_ONCE)
        return f"{looked}\n{'autoencoder':<15}{self.name}, whose time comes on top"

    def run(self) -> Evaluated:
        """The record of the rebuilt images."""
        say(self.plan())
        evaluation, pixels = self.comparison.evaluate(self._rebuilt(), self.images.count, f"rebuilding by {self.name}")
        own = self.comparison.extractor.distance
        fids = {f"r{own}": evaluation.metrics[own]}
        others = {n: value for n, value in evaluation.metrics.items() if not n.startswith(own)}
        height, width = self.images.size
        conditions: dict[str, Any] = {
            "autoencoder": self.autoencoder.fingerprint,
            "posterior": "mean",
            "images": self.images.path.name,
            "images_sha256": pixels[:16],
            "resolution": height if height == width else f"{height} x {width}",
            "num_images": self.images.count,
            "dtype": "fp32",
            "uint8": UINT8_RULE,
            **self.comparison.conditions,
        }
        warnings = [
            *self.images.doubts("The"), *self.comparison.warnings, *evaluation.warnings,
            "LPIPS was not measured: the weights of its network are none that dimbench fetches.",
        ]  # fmt: skip
        metrics = {**fids, **self.likeness.metrics, **others}
        details = {"protocol": protocol(conditions), "pixels_sha256": pixels}
        return Evaluated([Record("fid", self.name, conditions, metrics, details=details, warnings=tuple(warnings))])

    def finish(self) -> None:
        """Nothing was kept."""

    def _rebuilt(self) -> Iterator[Tensor]:
        for batch in self.images.batches(AT_ONCE):
            real = as_rgb(batch)
            x = real.float() / 127.5 - 1
            channels, stride = self.autoencoder.channels, self.autoencoder.stride
            nothing = torch.zeros(len(x), channels, x.shape[2] // stride, x.shape[3] // stride)
            made = to_uint8(self.autoencoder.decode(self.autoencoder.encode(x, nothing)))
            self.likeness.add(real, made)
            yield made
