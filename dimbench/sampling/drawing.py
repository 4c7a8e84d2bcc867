"""A request made ready: a network, its weights and a sampler, all checked before the first image is drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dimbench import methods, paths, presets
from dimbench.errors import UsageError
from dimbench.methods.method import check_uncompiled
from dimbench.progress import doing, stepping
from dimbench.sampling import decoding, ranks
from dimbench.sampling.request import Request, draws_latent_clips

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.backbone import Backbone
    from dimbench.sampling.batches import Batches, Drawn, OnBatches
    from dimbench.sampling.run import Settings
    from dimbench.sampling.shards import Shards


class Drawing:
    """A request made ready: everything it needs is loaded and checked."""

    def __init__(self, request: Request) -> None:
        from dimbench import backbone
        from dimbench.sampling import run

        self.request = request
        self.batch = request.batch if request.extendable else min(request.batch, request.num_images)
        self.label_rule = request.label_rule
        self.backbone, settings, self.process = settled(request)
        self.settings = replace(settings, dry=request.random_weights)
        with doing(f"building {self.backbone.name}"):
            self.model = backbone.created(self.backbone)
        self.weights_notes: list[str] = []
        self.fingerprint = "random" if request.random_weights else self._load_weights()
        run.check_finite(self.model)
        self.autoencoder = self._autoencoder()
        self.batches = self._batches()

    def under(self, texts: Sequence[str]) -> Drawing:
        """The same network and weights, by these methods. Samples are left as the network draws them."""
        from dimbench.sampling import run
        from dimbench.sampling.image_cost import settings_of

        request = replace(self.request, methods=tuple(texts), latents=True)
        other = copy(self)
        other.request, other.autoencoder = request, None
        settings = settings_of(self.backbone, request.sampler, request.steps, request.cfg, request.methods)
        other.settings = replace(settings, dry=request.random_weights)
        run.check(other.settings, self.process, self.backbone)
        other.batches = other._batches()
        return other

    def _load_weights(self) -> str:
        """Fill the network from its checkpoint; the fingerprint of that."""
        from dimbench.weights import checkpoints

        if self.request.has_weights:
            return checkpoints.fingerprint_of(self.model)
        file = self.request.checkpoint
        assert file is not None, "refuse_if_missing comes first"
        with doing(f"loading {file.name}"):
            self.weights_notes = checkpoints.fill(self.model, file)
            return checkpoints.fingerprint(file)

    def _batches(self) -> Batches:
        import torch

        from dimbench.data.pixels import to_uint8
        from dimbench.sampling import autoencoder, precision
        from dimbench.sampling.batches import Batches
        from dimbench.sampling.graph import Graphed
        from dimbench.sampling.run import Run

        device, dtype = self.request.device, precision.DTYPES[self.request.dtype]
        precision.set_precision(self.request.dtype)
        network: Any = precision.placed(self.backbone.running(self.model), device, dtype)
        if self.request.compile:
            network = torch.compile(network)
        decode = None
        if self.autoencoder:
            decode = self.autoencoder.to(device, dtype).decode
        elif self.request.decodes:
            decode = partial(autoencoder.stand_in, stride=self.backbone.stride)
        run = Run(self.backbone, network, self.process, self.settings, decode)
        if self.request.cuda_graph:
            run.call = Graphed(run.call)
        finish = torch.Tensor.contiguous if self.request.numbers else to_uint8
        return Batches(run, self.request.seed, self.batch, device, finish)

    @property
    def drawn(self) -> Drawn:
        """What was drawn so far."""
        return self.batches.drawn

    def _autoencoder(self) -> Any:
        if not self.request.decoder:
            return None
        from dimbench.sampling.autoencoder import by_channel

        found = decoding.load(self.request.decoder)
        found.check(self.backbone.state[0], self.backbone.stride, decoding.space_of(self.backbone))
        if self.backbone.preset and self.backbone.preset.latent:
            found.normalisation = by_channel(**self.backbone.preset.latent)
        return found

    @property
    def labels(self) -> list[int]:
        """The label of each image, none where the network is told none."""
        return self.label_rule.of(range(self.request.num_images)) if self.label_rule else []

    @property
    def conditions(self) -> dict[str, Any]:
        """What decides the images."""
        return {
            **self.backbone.conditions,
            "weights": self.fingerprint,
            "sampler": self.settings.sampler,
            "steps": self.settings.steps,
            "cfg": self.settings.cfg,
            "upsampling": getattr(self.process, "upsampling", 1),
            "guided_channels": self.settings.guided_channels or "all",
            "seed": self.request.seed,
            "labels": self.label_rule.rule if self.label_rule else None,
            "num_images": self.request.num_images,
            "autoencoder": self.autoencoder.fingerprint if self.autoencoder else None,
            "dtype": self.request.dtype,
            "compile": self.request.compile,
            "cuda_graph": self.request.cuda_graph,
            "device": self.request.device.partition(":")[0],
            **({"kernels": self.kernels} if self.kernels else {}),
            **({} if self._drawn_as_ours else {"process": dict(self.backbone.diffusion)}),
            **methods.conditions(self.request.methods),
            **self.guide_weights,
        }

    @cached_property
    def guide_weights(self) -> dict[str, str]:
        from dimbench.sampling import guides

        return guides.fingerprints(self.settings.methods, self.backbone)

    @property
    def code(self) -> dict[str, str]:
        """That of networks of the user's own, of a guide too: edited, it draws others by the same weights."""
        own = getattr(getattr(self.backbone, "maker", None), "code", None)
        models = [getattr(method, method.names_model) for method in self.settings.methods if method.names_model]
        code = " ".join(sha256[:16] for sha256 in (own, *map(presets.code_of, models)) if sha256)
        return {"code": code} if code else {}

    @property
    def _drawn_as_ours(self) -> bool:
        """Whether the model's name says how it is drawn, as it does of every network of ours."""
        preset = self.backbone.preset
        return preset is not None and preset.is_native

    @cached_property
    def kernels(self) -> dict[str, str]:
        """Which backend runs each operator of the network, as one call shows."""
        import torch

        from dimbench.kernels import backends
        from dimbench.sampling.sample_noise import SampleNoise

        fixed = self.request.compile or self.request.cuda_graph  # other rows would be compiled or recorded for nothing
        with backends.watch() as used, torch.inference_mode():
            self.batches.run.once(SampleNoise(0, range(self.batch if fixed else 1), self.request.device))
        return used

    @property
    def warnings(self) -> list[str]:
        """What a reader of the result must know."""
        said = []
        if self.request.random_weights:
            said.append("The weights are random: this ran the chain dry, and the number means nothing.")
        elif self.request.weights is None and self.request.known and len(self.request.published) > 1:
            said.append(f"Of several published files, {self.request.known.file} was taken; --weights names another.")
        said += self.weights_notes
        if self.request.decodes and not self.autoencoder:
            said.append("No autoencoder was given: three latent channels, enlarged, stand in for the image.")
        if self.request.numbers and not self.request.latents:
            what = "are no pictures: they are numbers"
            if draws_latent_clips(self.backbone):
                what = "stay latents, for their autoencoder is one of clips, which cannot be loaded here: they lie"
            said.append(f"Samples of shape {self.backbone.state} {what}, in arr_0 of the file.")
        if self.settings.sampler == "dopri5" and self.batch > 1:
            said.append(f"dopri5 chooses its steps for a batch: images depend on --batch {self.batch} slightly.")
        return said

    @property
    def decoding_cost(self) -> dict[str, float | None]:
        """Multiply-adds and seconds of decoding one image; empty where nothing is decoded."""
        if not self.autoencoder:
            return {}
        macs = decoding.macs(self.backbone.state, self.autoencoder.space)
        seconds = self.drawn.decode_seconds / self.drawn.fresh if self.drawn.fresh else None
        return {"decode_macs": macs, "decode_seconds": seconds}

    @property
    def shards(self) -> int:
        """How many batches hold the images that were asked for."""
        return -(-self.request.num_images // self.batch)

    def store(self, folder: Path | None = None) -> Shards:
        """Where the images are kept, batch by batch; None: in the cache, where an equal request finds them again."""
        import torch

        from dimbench.sampling.shards import Shards

        identity = {"model": self.backbone.name, **self.conditions, **self.code}
        identity.pop("num_images")
        state = self.backbone.state
        shape = (3, *state[1:-2], *self.request.size) if self.request.decodes else state
        dtype = torch.float32 if self.request.numbers else torch.uint8
        return Shards(folder or _cached({**identity, "shard_size": self.batch}), identity, self.batch, shape, dtype)

    def absent(self, store: Shards) -> list[int]:
        """The batches that have to be drawn because the store does not hold them, or holds them damaged."""
        with stepping("checking the shards", self.shards) as progress:
            return store.missing(self.shards, progress)

    def stream(self, store: Shards | None = None) -> Iterator[Tensor]:
        """The images batch by batch in their order, uint8 (n, C, h, w) (latents: float32), drawn as they are asked for.

        With a store, which must be claimed, those that are in it are read, and the others are kept in it.
        """
        absent = self.absent(store) if store else list(range(self.shards))
        new = set(absent)
        with self.following(self.shards - len(absent), store) as on_batches:
            with closing(self.draw(absent, store, on_batches)) as fresh:
                for index in range(self.shards):
                    images = store.read(index) if store and index not in new else next(fresh)
                    yield images[: self.request.num_images - index * self.batch]
            on_batches(len(absent))

    def draw(self, indices: Iterable[int], store: Shards | None, on_batches: OnBatches) -> Generator[Tensor]:
        """The images of whole batches, kept in `store`; `drawn` follows. Each step is a sign of life."""

        def on_step(done: float) -> None:
            ranks.here().beat()
            on_batches(done)

        yield from self.batches.draw(indices, store, on_step)

    @contextmanager
    def following(self, first: int, store: Shards | None, processes: int = 1) -> Iterator[OnBatches]:
        """A bar of images on stderr, `first` batches being there. Call the result with the batches this process drew;
        what the other `processes` put into the store is seen there, and without one guessed."""
        total, started = self.request.num_images, perf_counter()
        own, there = 0, first
        with stepping(f"drawing with {self.backbone.name}", total, min(total, first * self.batch)) as bar:

            def on_batches(drawn: float) -> None:
                nonlocal own, there
                if int(drawn) != own:
                    own = int(drawn)
                    there = store.done() if store else first + own * processes
                images = min(total, (there + drawn - own) * self.batch)
                rate = (images - first * self.batch) / (perf_counter() - started)
                bar(images, f"{max(0.0, rate):.2f} images/s")

            yield on_batches

    def run(self, part: Path | None = None) -> tuple[Drawn, Shards]:
        """All images at once in `drawn.images`, going on where an earlier run of the same settings stopped; the store
        in the folder `part` (None: one in the cache) is the caller's to remove."""
        import torch

        store = self.store(part)
        with store.claimed():
            self.drawn.images = torch.cat(list(self.stream(store)))
        return self.drawn, store


def _cached(identity: dict[str, Any]) -> Path:
    """Where images wait of a run that writes no pictures."""
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return paths.cache_folder() / "images" / f"{identity['model']}-{key}.part"


def settled(request: Request) -> tuple[Backbone, Settings, Any]:
    """What draws, as the weights need it and with the labels asked for, by which settings and process. Nothing is
    loaded. UsageError for what does not go together."""
    from dimbench.diffusion.process import find_process
    from dimbench.sampling import run
    from dimbench.sampling.image_cost import settings_of

    _check_device(request)
    rule, found = request.label_rule, request.fitted
    backbone = found.labelled(rule) if rule else found
    settings = settings_of(backbone, request.sampler, request.steps, request.cfg, request.methods)
    process = find_process(backbone.diffusion)
    run.check(settings, process, backbone)
    return backbone, settings, process


def predicted(request: Request) -> float:
    """Multiply-adds of all images of a request; of a run that values decide those of the plain one, and of a sampler
    that chooses its steps those of a call a step."""
    from dimbench.sampling.image_cost import image_cost
    from dimbench.sampling.run import ADAPTIVE

    backbone, settings, _ = settled(request)
    on_shapes = tuple(method for method in settings.methods if not method.by_values)
    sampler = "euler" if settings.sampler == ADAPTIVE else settings.sampler
    cost = image_cost(backbone, replace(settings, methods=on_shapes, sampler=sampler), decoded=False)
    return float(cost.macs("macs")) * request.num_images


def _check_device(request: Request) -> None:
    from dimbench.sampling import precision

    precision.check_device(request.device)
    if request.dtype == "tf32" and not request.device.startswith("cuda"):
        raise UsageError(f"--dtype tf32 is a mode of CUDA devices, not of {request.device}; give fp32 or bf16")
    check_uncompiled(request.methods, request.compile, request.cuda_graph)
    if request.cuda_graph and not request.device.startswith("cuda"):
        raise UsageError(f"--cuda-graph needs a CUDA device and was given {request.device}; leave it out")
