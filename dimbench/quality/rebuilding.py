"""What an autoencoder makes of real images, beside them: rFID, and how like each picture is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimbench import paths
from dimbench.data.pixels import UINT8_RULE, to_uint8
from dimbench.errors import UsageError
from dimbench.quality import networks as comparing
from dimbench.quality import plan as planning
from dimbench.quality.evaluate import Evaluation
from dimbench.quality.evaluating import Evaluated
from dimbench.quality.features import as_rgb
from dimbench.quality.images import open_images
from dimbench.quality.likeness import PictureLikeness
from dimbench.quality.lpips import HOME as LPIPS_HOME
from dimbench.quality.lpips import LPIPS
from dimbench.quality.networks import Against, Networks
from dimbench.quality.protocol import protocol
from dimbench.quality.references import read_reference
from dimbench.quality.vgg import VGG_HOME
from dimbench.results import Record
from dimbench.sampling import decoding, ranks
from dimbench.sampling import request as requests
from dimbench.sampling.autoencoder import Autoencoder

AT_ONCE = 16  # images through the autoencoder


class Rebuilt:
    """The images at `place`, encoded to the mean of the posterior and decoded again, against those themselves or
    another `reference`. The ranks share out the work."""

    def __init__(
        self,
        place: Path,
        autoencoder: str,
        reference: Path | None,
        networks: Networks,
        device: str = "cpu",
        planned_ranks: int | None = None,
    ) -> None:
        self.planned_ranks, self.common = planned_ranks, True
        self.name, self.images, self.device = autoencoder, open_images(place), device
        self.reference, self.networks = reference, networks.found(self.images.size)
        missing = [*decoding.missing(autoencoder), *self.networks.missing]
        if self.networks.lpips and not self.networks.vgg:
            missing.append(f"--vgg FILE: the weights of VGG16, which --lpips weighs, {VGG_HOME}")
        requests.refuse_if_missing(f"rebuilding {place.name} by {autoencoder}", missing)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """Loaded and checked. UsageError for images whose sides are no multiples of its stride."""
        found = decoding.load(self.name).to(self.device, torch.float32)
        if any(side % found.stride for side in self.images.size):
            height, width = self.images.size
            raise UsageError(
                f"the images are of {height} x {width} pixels, and {self.name} takes sides that are multiples of "
                f"{found.stride}; crop them"
            )
        return found

    @cached_property
    def perceptual(self) -> LPIPS | None:
        """LPIPS, where its weights are given."""
        vgg, weights = self.networks.vgg, self.networks.lpips
        return LPIPS(vgg, weights, self.device) if vgg and weights else None

    @cached_property
    def comparison(self) -> Against:
        """What the images are compared with, opened and checked."""
        size = self.images.size
        against = comparing.opened_reference(self.reference, size) or read_reference(self.images.path)
        return comparing.Against(size, against, self.networks, self.device, here=ranks.here())

    def plan(self) -> Iterator[str]:
        """What looking at the images takes; the autoencoder comes on top."""
        yield planning.of_images(self.images)
        stride = self.autoencoder.stride
        yield f"{'autoencoder':<15}{self.name}, of stride {stride}, whose time comes on top"
        to_read = self.comparison.reference.images_to_read
        extractor = self.comparison.extractor
        yield planning.of_looking(self.images, to_read, extractor, comparing.AT_ONCE, self.planned_ranks, self.common)

    def run(self) -> Evaluated:
        """The record of the rebuilt images, in each rank."""
        own = self.comparison.extractor.distance  # what does not fit is said alone
        self.common = ranks.here().all_see(paths.cache_folder())
        for part in self.plan():
            planning.say_first(part)
        files = {"autoencoder": self.autoencoder.fingerprint, **self.comparison.files}
        if self.perceptual:
            files["lpips_sha256"] = self.perceptual.sha256[:16]
        ranks.here().check_same({"images": self.images.listing, **files})
        with planning.beginning_again("rebuilt images are not kept"):
            evaluation, pixels, likeness = self._evaluated()
        fids = {f"r{own}": evaluation.metrics[own]}
        others = {n: value for n, value in evaluation.metrics.items() if not n.startswith(own)}
        height, width = self.images.size
        conditions: dict[str, Any] = {
            "posterior": "mean",
            "images": self.images.path.name,
            "images_sha256": pixels[:16],
            "resolution": height if height == width else f"{height} x {width}",
            "num_images": self.images.count,
            "dtype": "fp32",
            "uint8": UINT8_RULE,
            **self.comparison.conditions,
            **files,
        }
        warnings = [*self.images.doubts("The"), *self.comparison.warnings, *evaluation.warnings]
        if not self.perceptual:
            warnings.append(f"LPIPS was not measured: give its weights, {LPIPS_HOME}, with --lpips.")
        metrics = {**fids, **likeness.metrics, **others}
        details = {"protocol": protocol(conditions), "pixels_sha256": pixels}
        return Evaluated([Record("fid", self.name, conditions, metrics, details=details, warnings=tuple(warnings))])

    def finish(self) -> None:
        """Nothing was kept."""

    def _evaluated(self) -> tuple[Evaluation, str, PictureLikeness]:
        here, count, said = ranks.here(), self.images.count, f"rebuilding by {self.name}"
        own, whole = PictureLikeness(), PictureLikeness()
        made = self._rebuilt(own)
        if here.world == 1:
            evaluation, pixels = self.comparison.evaluate(made, count, said)
        else:
            numbered = zip(range(here.rank, -(-count // AT_ONCE), here.world), made, strict=True)
            evaluation, pixels = self.comparison.evaluate_shared(numbered, count, AT_ONCE, said)
        for part in here.gathered(own):
            whole.merge(part)
        return evaluation, pixels, whole

    def _rebuilt(self, likeness: PictureLikeness) -> Iterator[Tensor]:
        """This rank's batches as they come out, beside which `likeness` sees what went in."""
        here = ranks.here()
        for batch in self.images.batches(AT_ONCE, here.rank, here.world):
            real = as_rgb(batch)
            x = real.float() / 127.5 - 1
            channels, stride = self.autoencoder.channels, self.autoencoder.stride
            nothing = torch.zeros(len(x), channels, x.shape[2] // stride, x.shape[3] // stride)
            made = to_uint8(self.autoencoder.decode(self.autoencoder.encode(x, nothing)))
            likeness.add(real, made, self.perceptual(real, made).tolist() if self.perceptual else ())
            yield made
