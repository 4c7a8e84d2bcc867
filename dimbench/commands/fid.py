from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import presets
from dimbench.commands import drawing, options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import UsageError
from dimbench.report.tables import Table
from dimbench.results import Record
from dimbench.weights import catalog

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.quality.evaluate import Evaluation

METRICS = {"fid": "FID", "is_mean": "IS", "kid_mean": "KID", "precision": "precision", "recall": "recall"}


def run(
    model: Annotated[
        str | None, typer.Option(help="The model that draws the images.", show_default="none: give --real")
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Take real training digits for the images: the floor of the digits' FID.")
    ] = False,
    steps: drawing.Steps = 250,
    cfg: drawing.Cfg = 1.0,
    sampler: drawing.Sampler = None,
    num_images: Annotated[
        int | None, typer.Option(min=2, help="Images to draw.", show_default="1000 digits, else 50000")
    ] = None,
    labels: drawing.Labels = None,
    seed: drawing.Seed = 0,
    batch: drawing.Batch = 125,
    resolution: options.Resolution = None,
    device: drawing.Device = "cpu",
    weights: drawing.Weights = None,
    autoencoder: drawing.Autoencoder = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Statistics to compare with, npz.", show_default="ImageNet's, if fetched; held-back digits"),
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(help="Weights of the Inception network.", show_default="those fetched; digits need none"),
    ] = None,
    random_weights: drawing.RandomWeights = False,
    kernel: options.Kernel = None,
    json: options.Json = False,
    out: options.Out = None,
) -> None:
    """Draw images and compare them with real ones: FID, Inception Score, KID, precision and recall."""
    if (model is None) != real:
        raise UsageError("give either --model NAME or --real")
    form = "json" if json else "rich"
    if model is None:
        file = output_file(out)
        record = _real_digits(Comparison(digits=True))
        emit([record], [_table([record])], file, form)
        return
    preset = presets.find(model)
    digits = preset.latent_stride == 1
    request = drawing.Request(
        preset.name, num_images or (1000 if digits else 50_000), steps, cfg, sampler, labels, seed, batch, resolution,
        device, weights, autoencoder, random_weights,
    )  # fmt: skip
    if not (digits or random_weights):
        reference = reference or catalog.shared(_statistics_name(request))
        inception = inception or catalog.shared("inception")
    missing = request.missing() + ([] if digits or random_weights else _missing(request, reference, inception))
    drawing.refuse_if_missing(f"the FID of {preset.name}", missing)
    file = output_file(out)
    comparison = Comparison(digits, reference, inception, device, dry=random_weights)
    ready = drawing.Drawing(request)
    drawn, store = ready.run()
    evaluation = comparison.evaluate(drawn.images)
    record = Record(
        "fid",
        preset.name,
        {**ready.conditions, "kernels": drawn.kernels, **comparison.conditions},
        {**evaluation.metrics, "network_calls": drawn.network_calls, "seconds": drawn.seconds},
        warnings=(*ready.warnings, *comparison.warnings, *evaluation.warnings),
    )
    rows = [record, _real_digits(comparison)] if digits and reference is None else [record]
    emit([record], [_table(rows)], file, form)
    store.remove()


def _statistics_name(request: drawing.Request) -> str:
    """What the published statistics of real images of this size are called."""
    return f"adm-imagenet-{request.pixels}"


def _missing(request: drawing.Request, reference: Path | None, inception: Path | None) -> list[str]:
    from dimbench.quality.features import INCEPTION_FILE, INCEPTION_HOME

    missing = []
    if reference is None:
        published = presets.shared_files().get(_statistics_name(request))
        home = published.files[0].url if published else f"none is published for {request.pixels} pixels"
        missing.append(f"--reference FILE: the reference statistics, {home}")
    if inception is None:
        missing.append(
            f"--inception FILE: the weights of the Inception network, {INCEPTION_FILE} from {INCEPTION_HOME}"
        )
    return missing


class Comparison:
    """What images are compared with and by which features, opened before anything is drawn."""

    def __init__(
        self,
        digits: bool,
        reference: Path | None = None,
        inception: Path | None = None,
        device: str = "cpu",
        dry: bool = False,
    ) -> None:
        from dimbench.quality import features, statistics

        self.warnings: list[str] = []
        self.shrink = not digits and dry and inception is None
        if digits or self.shrink:
            self.extractor = features.create_extractor("digits-classifier")
        else:
            self.extractor = features.create_extractor("inception-v3-compat", inception, device)
        if self.shrink:
            self.warnings.append("No Inception weights were given: the digits classifier stands in, on 8 x 8 pixels.")
        if reference is None or self.shrink:
            self.reference_name = "held-back digits"
            self.reference: Any = self.features_of(_digits("held-out"))
        else:
            self.reference_name = reference.name
            self.reference = statistics.load_statistics(reference)

    @property
    def conditions(self) -> dict[str, str]:
        return {"reference": self.reference_name, "extractor": self.extractor.name}

    def features_of(self, images: Tensor) -> Any:
        from torch.nn.functional import adaptive_avg_pool2d

        from dimbench.quality.features import extract

        if self.shrink and images.shape[-1] != 8:
            images = adaptive_avg_pool2d(images.float(), 8).round().byte()
        return extract(self.extractor, images.split(256))

    def evaluate(self, images: Tensor) -> Evaluation:
        from dimbench.quality.evaluate import evaluate

        return evaluate(self.features_of(images), self.reference)


def _digits(split: Any) -> Tensor:
    from dimbench.data import digits
    from dimbench.data.pixels import to_uint8

    return to_uint8(digits.load(split)[0])


def _real_digits(comparison: Comparison) -> Record:
    """Real training digits in the place of drawn ones: the lowest FID a model of them can hope for."""
    images = _digits("train")
    evaluation = comparison.evaluate(images)
    conditions = {"num_images": len(images), **comparison.conditions}
    return Record("fid", "real digits", conditions, evaluation.metrics, warnings=tuple(evaluation.warnings))


def _table(records: list[Record]) -> Table:
    rows = []
    for record in records:
        metrics = (record.metrics.get(name) for name in METRICS)
        images = f"{record.conditions['num_images']:,}"
        rows.append((record.model, images, *("not measured" if m is None else f"{m:.4g}" for m in metrics)))
    against = records[0].conditions
    notes = [f"Compared with: {against['reference']}, by the features of {against['extractor']}."]
    notes += [warning for record in records for warning in record.warnings]
    return Table(("images of", "N", *METRICS.values()), rows, notes=list(dict.fromkeys(notes)))
