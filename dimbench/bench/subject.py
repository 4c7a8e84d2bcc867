"""What a row times: one network call, one training step or one sampling run, as a function without arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import backbone
from dimbench.bench.devices import DTYPES
from dimbench.bench.memory import LivePeak
from dimbench.bench.rows import Row
from dimbench.counting import parameters as params
from dimbench.counting.bill import trace
from dimbench.counting.meta import shapes_only
from dimbench.counting.rules import RULES
from dimbench.diffusion.flow import Flow
from dimbench.diffusion.process import Process, Transport, find_process
from dimbench.errors import DimbenchError
from dimbench.presets import Preset
from dimbench.sampling import autoencoder, draw
from dimbench.weights import checkpoints

TRAINING_PASSES = 3  # the backward pass computes two products for each of the forward pass
ADAM_STATES = 2
_ON_TENSOR_CORES = {"linear", "matmul", "attention", "convolution"}


@dataclass(frozen=True)
class Cost:
    """What one image needs by the count: `macs` of a forward pass and of all that the row times, the share of products
    among them, parameters; bytes of the weights, of inputs and outputs per batch, and at the peak beyond weights."""

    macs: int
    macs_timed: int
    matmul_share: float
    params: int
    weights: int
    traffic: int
    activations: int


def cost(row: Row, preset: Preset, batch: int) -> Cost:
    """Counted on shapes alone. Training keeps gradients and Adam's two averages beside the weights."""
    with shapes_only():
        model = backbone.build(preset, row.resolution)
        running = model if row.mode == "train" else backbone.for_inference(preset, model)
    images = 2 * batch if row.cfg else batch
    inputs = backbone.example_inputs(preset, model, images, "meta")
    with LivePeak() as live:
        bill = trace(running, inputs, images)
    item = 4 if row.mode == "train" else DTYPES[row.dtype].itemsize
    macs = RULES["macs"].macs(bill) // images
    matmul = sum(line.macs for line in bill.lines if line.operator in _ON_TENSOR_CORES and not line.dead) // images
    calls = (row.steps or 1) * (2 if row.cfg else 1) * (TRAINING_PASSES if row.mode == "train" else 1)
    numbers = sum(p.numel() for p in running.parameters())
    weights = item * numbers * (2 + ADAM_STATES if row.mode == "train" else 1)
    return Cost(
        macs=macs,
        macs_timed=macs * calls,
        matmul_share=matmul / macs,
        params=params.count(running)["params"],
        weights=weights,
        traffic=calls * (item * numbers + 2 * item * inputs["x"].numel()),
        activations=live.peak * item // 4,
    )


@dataclass(frozen=True)
class Subject:
    """`call` runs once what the row times and returns an output to look at; `eager` the same before compilation, None
    where nothing is compiled; `form` says which network: with branches "merged" for inference, or "as trained"."""

    call: Callable[[], Tensor]
    eager: Callable[[], Tensor] | None
    form: str
    sampler: str | None = None


def build(row: Row, preset: Preset, batch: int) -> Subject:
    """The network on its device with its inputs there, ready for the first call."""
    model = backbone.create_model(preset.name, resolution=row.resolution)
    if row.weights:
        checkpoints.load_checkpoint(model, row.weights)
    inputs = backbone.example_inputs(preset, model, batch, row.device)
    if row.mode == "train":
        return _training(row, find_process(preset.diffusion), model.to(row.device), inputs)
    running = backbone.for_inference(preset, model).to(row.device, DTYPES[row.dtype])
    form = backbone.form_of(model, running)
    network = torch.compile(running) if row.compile else running
    if row.mode == "sample":
        return _sampling(row, preset, model.config, running, network, batch, form)
    inputs["x"] = inputs["x"].to(DTYPES[row.dtype])

    def call_of(network: Any) -> Callable[[], Tensor]:
        @torch.inference_mode()
        def call() -> Tensor:
            return network(**inputs)

        return call

    return Subject(call_of(network), call_of(running) if row.compile else None, form)


def _training(row: Row, process: Process, model: nn.Module, inputs: dict[str, Tensor]) -> Subject:
    """Forward, loss, backward and AdamW's step. Below float32 the weights stay in it and the products are autocast."""
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    generator = torch.Generator(row.device).manual_seed(0)
    dtype = DTYPES[row.dtype]
    kind = row.device.partition(":")[0]

    def call_of(network: Any) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
                loss = process.loss(lambda x, t: network(x, t, inputs["y"]), inputs["x"], generator).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return call

    compiled = torch.compile(model) if row.compile else model
    return Subject(call_of(compiled), call_of(model) if row.compile else None, backbone.AS_TRAINED)


def _sampling(row: Row, preset: Preset, config: Any, eager: nn.Module, network: Any, batch: int, form: str) -> Subject:
    """A whole run of exactly `row.steps` network calls, noise and all, decoded where there is an autoencoder."""
    assert row.steps is not None
    process = find_process(preset.diffusion)
    sampler, steps = fixed_sampler(process, preset.diffusion["sampler"], row.steps)
    settings = draw.Settings(
        sampler=sampler,
        steps=steps,
        cfg=1.5 if row.cfg else 1.0,  # the scale does not change the work
        guided_channels=preset.diffusion["guided_channels"],
        null_label=config.null_label,
        guided_interval=preset.diffusion.get("guided_interval"),
    )
    labels = [0] * batch
    draw.check(settings, process, labels, config.num_classes)
    shape = (config.in_channels, config.input_size, config.input_size)
    dtype = DTYPES[row.dtype]
    decoder = autoencoder.from_pretrained(row.autoencoder).to(row.device, dtype) if row.autoencoder else None

    def call_of(network: Any) -> Callable[[], Tensor]:
        def model(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return network(x.to(dtype), t, y).to(x.dtype)

        def call() -> Tensor:
            images, calls = draw.draw(model, process, range(batch), labels, settings, shape=shape, device=row.device)
            if calls != row.steps:
                raise DimbenchError(f"{sampler} made {calls} network calls instead of {row.steps}; give other --steps")
            return decoder.decode(images) if decoder else images

        return call

    return Subject(call_of(network), call_of(eager) if row.compile else None, form, sampler)


def fixed_sampler(process: Process, own: str, calls: int) -> tuple[str, int]:
    """(sampler, its number of steps) that makes exactly `calls` network calls: the family's own where it makes one per
    step, for transports and flows Euler, since theirs make several or choose how many."""
    if isinstance(process, Flow):
        return "euler", calls + (process.grid == "points")
    return ("euler", calls + 1) if isinstance(process, Transport) else (own, calls)
