"""What a row times: one network call, one training step or one sampling run, as a function without arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import backbone
from dimbench.backbone import Backbone
from dimbench.bench.memory import LivePeak
from dimbench.bench.rows import Row
from dimbench.counting import parameters
from dimbench.counting.bill import trace
from dimbench.counting.costs import skeleton
from dimbench.counting.rules import RULES
from dimbench.diffusion.process import find_process, mean_loss, training_passes
from dimbench.errors import DimbenchError
from dimbench.meta import shapes_only
from dimbench.sampling.autoencoder import at_once
from dimbench.sampling.image_cost import (
    ImageCost,
    check_methods,
    decoder_of,
    image_cost,
    settings_of,
    traced,
)  # fmt: skip
from dimbench.sampling.precision import DTYPES, made_in, placed
from dimbench.sampling.run import Run, Settings, cast, check
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.weights import checkpoints
from dimbench.weights.opening import holds_weights

ADAM_STATES = 2
_ON_TENSOR_CORES = {"linear", "matmul", "attention", "convolution"}


@dataclass(frozen=True)
class Cost:
    """What one image needs by the count: `macs` of a forward pass and of all that the row times, these also
    `by_numbers` that are multiplied ("" for the row's own), the share of products among them, parameters; bytes of the
    weights, of inputs and outputs per batch, and at the peak beyond weights; the operators it calls, the `form` of a
    Subject, and what of `macs_timed` decodes, None where nothing does."""

    macs: int
    macs_timed: int
    by_numbers: Mapping[str, int]
    matmul_share: float
    params: int
    weights: int
    traffic: int
    activations: int
    operators: frozenset[str]
    form: str
    decode_macs: int | None = None


def found(row: Row) -> Backbone:
    """The backbone of a row."""
    return backbone.find(row.model, row.resolution, inputs=row.inputs, process=row.process, frames=row.frames)


def weights_of(row: Row, subject: Backbone) -> str | None:
    """What the network is filled from, None for weights of chance."""
    own = None if row.random_weights else subject.weights
    if own and not row.weights and not holds_weights(own):
        raise DimbenchError(f"{own} holds no weights; give --weights, or time it with --random-weights")
    return row.weights or (str(own) if own else None)


def cost(row: Row, subject: Backbone, batch: int) -> Cost:
    """Counted on shapes alone, and so without methods that look at values. Training keeps gradients and Adam's two
    averages beside the weights."""
    model, running = skeleton(subject)
    running = model if row.mode == "train" else running
    images = 2 * batch if row.cfg else batch
    with shapes_only():
        x, t, given = backbone.example(subject, images, "meta")
    with LivePeak() as live:
        bill = trace(running, lambda: subject.call(running, x, t, given), images)
    item = 4 if row.mode == "train" else DTYPES[row.dtype].itemsize
    macs = RULES["macs"].macs(bill) // images
    matmul = sum(line.macs for line in bill.lines if line.operator in _ON_TENSOR_CORES and not line.dead) // images
    by_numbers: Mapping[str, int] = {}
    calls = training_passes(find_process(subject.diffusion), model) if row.mode == "train" else 1
    timed = calls * macs
    decode_macs = None
    if row.mode == "sample":
        how = settings(row, subject)
        on_shapes = tuple(method for method in how.methods if not method.by_values)
        whole = image_cost(subject, replace(how, methods=on_shapes), decoded=row.decode)
        timed, calls, by_numbers = whole.macs("macs"), whole.calls, whole.by_numbers
        decode_macs = whole.decode_macs("macs") if row.decode else None
    numbers = sum(p.numel() for p in running.parameters())
    weights = item * numbers * (2 + ADAM_STATES if row.mode == "train" else 1)
    return Cost(
        macs=macs,
        macs_timed=timed,
        by_numbers=by_numbers or {"": timed},
        matmul_share=matmul / macs if macs else 0.0,
        params=parameters.count(running)["params"],
        weights=weights,
        traffic=calls * (item * numbers + 2 * item * x.numel()),
        activations=live.peak * item // 4,
        operators=frozenset(line.operator for line in bill.lines),
        form=backbone.form_of(model, running),
        decode_macs=decode_macs,
    )


@dataclass(frozen=True)
class Subject:
    """`call` runs once what the row times and returns an output to look at; `eager` the same before compilation, None
    where nothing is compiled; `form` says which network: with branches "merged" for inference, or "as trained";
    `notes` what loading the weights chose and left out; `executed` counts the run where values decide what it executes,
    None where shapes do; `decode` is the part of `call` that decodes, None for none."""

    call: Callable[[], Tensor]
    eager: Callable[[], Tensor] | None
    form: str
    sampler: str | None = None
    notes: tuple[str, ...] = ()
    executed: Callable[[], ImageCost] | None = None
    decode: Callable[[], Tensor] | None = None


def build(row: Row, subject: Backbone, batch: int) -> Subject:
    """The network on its device with its inputs there, ready for the first call."""
    file = weights_of(row, subject)
    with made_in(DTYPES["fp32" if file or row.mode == "train" else row.dtype]):  # weights may come with exact tables
        model = backbone.created(subject)
    notes = tuple(checkpoints.fill(model, file)) if file else ()
    return replace(_of_network(row, subject, model, batch), notes=notes)


def _of_network(row: Row, subject: Backbone, model: nn.Module, batch: int) -> Subject:
    if row.mode == "train":
        return _training(row, subject, model.to(row.device), batch)
    running = placed(subject.running(model), row.device, DTYPES[row.dtype])
    form = backbone.form_of(model, running)
    network: nn.Module = torch.compile(running) if row.compile else running  # type: ignore[assignment]
    if row.mode == "sample":
        return _sampling(row, subject, running, network, batch, form)
    x, t, given = backbone.example(subject, batch, row.device)
    x, given = x.to(DTYPES[row.dtype]), cast(given, DTYPES[row.dtype])

    def call_of(network: Any) -> Callable[[], Tensor]:
        @torch.inference_mode()
        def call() -> Tensor:
            return subject.call(network, x, t, given)

        return call

    return Subject(call_of(network), call_of(running) if row.compile else None, form)


def _training(row: Row, subject: Backbone, model: nn.Module, batch: int) -> Subject:
    """Forward, loss, backward and AdamW's step. Below float32 the weights stay in it and the products are autocast."""
    process = find_process(subject.diffusion)
    x, _, given = backbone.example(subject, batch, row.device)
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    generator = torch.Generator(row.device).manual_seed(0)
    dtype = DTYPES[row.dtype]
    kind = row.device.partition(":")[0]

    def call_of(network: Any) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
                loss = mean_loss(
                    process, model, lambda x, t, **form: subject.call(network, x, t, {**given, **form}), x, generator
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return call

    compiled = torch.compile(model) if row.compile else model
    return Subject(call_of(compiled), call_of(model) if row.compile else None, backbone.AS_TRAINED)


def settings(row: Row, subject: Backbone) -> Settings:
    """How a row of sampling runs is sampled; the scale of guidance does not change the work."""
    assert row.steps is not None
    how = settings_of(subject, row.sampler, row.steps, 1.5 if row.cfg else 1.0, row.methods)
    return replace(how, dry=weights_of(row, subject) is None)


def check_run(row: Row, subject: Backbone) -> None:
    """Raise UsageError where its runs cannot be by its methods."""
    how = settings(row, subject)
    check_methods(subject, how.sampler, how.steps, how.cfg, row.methods)


def _sampling(row: Row, subject: Backbone, eager: nn.Module, network: nn.Module, batch: int, form: str) -> Subject:
    """A whole run, noise and all, decoded where the row says so."""
    process, how = find_process(subject.diffusion), settings(row, subject)
    check(how, process, subject)
    decode = _decoding(row, subject) if row.decode else None

    def call_of(network: nn.Module) -> Callable[[], Tensor]:
        run = Run(subject, network, process, how, decode)

        @torch.inference_mode()
        def call() -> Tensor:
            return run(SampleNoise(0, range(batch), row.device))

        return call

    @torch.inference_mode()
    def executed() -> ImageCost:
        return traced(Run(subject, network, process, how, decode), SampleNoise(0, range(batch), row.device))

    by_values = any(method.by_values for method in how.methods)
    latents = torch.randn(batch, *subject.state, device=row.device)
    return Subject(
        call_of(network), call_of(eager) if row.compile else None, form, how.sampler,
        executed=executed if by_values else None,
        decode=partial(decode, latents) if decode else None,
    )  # fmt: skip


def _decoding(row: Row, subject: Backbone) -> Callable[[Tensor], Tensor]:
    """(latents) -> images, as many at once as drawing decodes."""
    dtype = DTYPES[row.dtype]
    decoder = placed(decoder_of(subject), row.device, dtype)
    height, width = subject.state[-2:]
    size = at_once(height * width * subject.stride**2)

    @torch.inference_mode()
    def decode(latents: Tensor) -> Tensor:
        return torch.cat([decoder(part) for part in latents.to(dtype).split(size)])

    return decode
