from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from dimbench import paths, presets
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import DimbenchError, UsageError
from dimbench.presets import Preset
from dimbench.progress import stepping
from dimbench.report.tables import Table
from dimbench.results import Record

if TYPE_CHECKING:
    from dimbench.training import Training


OF_THE_LOOP = ("steps", "batch", "lr", "ema", "save_every", "half", "kernel")  # the classifier has one of its own


def run(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="One of the digits models, or digits-classifier.", metavar="NAME")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, max=options.MOST_IMAGES, help="Images per step.")] = 128,
    lr: Annotated[float, typer.Option(help="Highest learning rate of AdamW.")] = 1e-3,
    ema: Annotated[float, typer.Option(help="Share of the averaged weights that stays at each step.")] = 0.999,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the first weights and of all randomness in training.")
    ] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    to: Annotated[
        Path | None,
        typer.Option(
            help="File for the averaged weights; the checkpoint lies beside it.",
            show_default="checkpoints/NAME.safetensors in ./results or the user's own folder",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Write the averaged weights in float16.")] = False,
    kernel: options.Kernel = None,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Train a model on the embedded digits; run again after an interruption and it goes on to the bit."""
    if to:
        _check_place(to)
    if name == "digits-classifier":
        if meant := options.given(ctx, OF_THE_LOOP):
            raise UsageError(f"--{meant} is for diffusion models: digits-classifier has its own recipe; leave it out")
        record = _classifier(seed, to or _usual(name))
    else:
        preset = _trainable(name)
        recipe = {"steps": steps, "batch": batch, "lr": lr, "ema": ema, "seed": seed}
        record = _train(preset, recipe, save_every, to or _usual(preset.name), half)
    shown = ("-" if value is None else f"{value:g}" for value in record.metrics.values())
    rows = [(record.model, *shown, record.details["file"])]
    emit([record], [Table(("model", *record.metrics, "weights"), rows)], output_file(out), form)


def _usual(name: str) -> Path:
    return paths.results_folder() / "checkpoints" / f"{name}.safetensors"


def _check_place(to: Path) -> None:
    """UsageError, before anything is trained, where the weights would replace what is none."""
    if to.suffix != ".safetensors" or to.is_dir():
        what = "is a folder" if to.is_dir() else "is no name for weights"
        raise UsageError(f"--to {to} {what}; give a file that ends in .safetensors, and the checkpoint lies beside it")


def _trainable(name: str) -> Preset:
    from dimbench import backbone
    from dimbench.data import digits

    preset = presets.of(name) if name == presets.split(name)[0] else None
    if preset is None or (preset.resolution, preset.latent_stride) != (digits.SIZE, 1):
        known = [p.name for p in presets.all_presets().values() if (p.resolution, p.latent_stride) == (digits.SIZE, 1)]
        what = preset.name if preset else name
        raise UsageError(f"{what} cannot be trained on the embedded digits; give one of {', '.join(known)}")
    found = backbone.find(preset.name)
    state, classes = backbone.denoised(found), found.classes.count if found.classes else 0
    if state != (1, digits.SIZE, digits.SIZE) or classes < digits.CLASSES:
        raise UsageError(
            f"{preset.name} draws samples of shape {state} of {classes or 'no'} classes, and the embedded digits are "
            f"of shape {(1, digits.SIZE, digits.SIZE)} and of {digits.CLASSES}; give a network of these"
        )
    return preset


def _train(preset: Preset, recipe: dict[str, float], save_every: int, out: Path, half: bool) -> Record:
    from dimbench import backbone
    from dimbench.data import digits
    from dimbench.diffusion.process import find_process
    from dimbench.training import DivergedError, Training, TrainingRecipe

    settings = TrainingRecipe(**recipe)  # type: ignore[arg-type]
    model = backbone.create_model(preset.name, seed=settings.seed)
    training = Training(model, find_process(preset.diffusion), settings)
    checkpoint = out.with_suffix(".ckpt")
    with _interrupts_between_steps() as interrupt:
        _begin(training, checkpoint)
        images, labels = digits.load("train")
        started, first, losses = perf_counter(), training.step, []
        with stepping(f"training {preset.name}", settings.steps, training.step) as progress:
            try:
                while training.step < settings.steps:
                    losses.append(training.advance(images, labels))
                    progress(training.step, f"loss {sum(losses[-100:]) / len(losses[-100:]):.4f}")
                    if training.step % save_every == 0:
                        training.save(checkpoint)
                    interrupt()
                training.save(checkpoint)
            except KeyboardInterrupt:
                training.save(checkpoint)
                kept = f"{checkpoint} holds {training.step} of {settings.steps} steps: run again to go on"
                print(f"dimbench: interrupted; {kept}", file=sys.stderr)
                raise
            except DivergedError as error:
                training.mark_diverged(checkpoint)
                raise DimbenchError(
                    f"{error}; {checkpoint} keeps the last good state: start over with a --lr below {settings.lr:g}"
                ) from None
    training.export(out, {"model": preset.name, "data": "digits, train split"}, half)
    taken, recent = training.step - first, losses[-100:]
    metrics = {
        "steps": float(training.step),
        "loss": sum(recent) / len(recent) if recent else None,
        "seconds_per_step": (perf_counter() - started) / taken if taken else None,
    }
    return Record("train", preset.name, {**recipe, "kernels": training.kernels}, metrics, details={"file": str(out)})


def _begin(training: Training, checkpoint: Path) -> None:
    """Go on from the checkpoint where there is one that can be gone on from; else lay one down."""
    if checkpoint.exists() and training.resume(checkpoint):
        if training.step == training.recipe.steps:
            typer.echo(f"{checkpoint} holds all {training.step} steps: nothing is left to do.", err=True)
        return
    if checkpoint.exists():
        typer.echo(f"{checkpoint} is of a run that diverged at a higher --lr: starting over.", err=True)
    training.save(checkpoint)  # an unwritable place shows before the work, not after


@contextmanager
def _interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM wait until the result is called: half a step must not be saved as a whole one."""
    pressed: list[signal.Signals] = []

    def interrupt() -> None:
        if pressed:
            handler = before[pressed[0]]
            assert callable(handler)
            handler(pressed[0], None)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {
        number: signal.signal(number, lambda number, _: pressed.append(signal.Signals(number))) for number in numbers
    }
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _classifier(seed: int, out: Path) -> Record:
    from dimbench.quality.digits_classifier import accuracy, save_classifier, train_classifier

    with stepping("training digits-classifier", None, 0) as progress:
        model = train_classifier(seed, on_step=lambda step, loss: progress(step, f"loss {loss:.4f}"))
    save_classifier(model, out)
    return Record(
        "train", "digits-classifier", {"seed": seed}, {"accuracy": accuracy(model)}, details={"file": str(out)}
    )
