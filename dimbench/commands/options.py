"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimbench import image_size, presets
from dimbench.commands.dialect import Form
from dimbench.errors import UsageError

if TYPE_CHECKING:
    from dimbench.backbone import Backbone

_ALSO = (
    "or a network of your own as FILE.py:NAME or PACKAGE.MODULE:NAME, with settings behind a comma as in "
    "net.py:Net,width=384; or a folder that diffusers wrote, diffusers:CLASS or hf:OWNER/NAME."
)


def begun(incomplete: str) -> list[str]:
    """The models whose names begin so, for the shell."""
    from dimbench import presets

    return [name for name in presets.all_presets() if name.startswith(incomplete)]


def begun_recipe(incomplete: str) -> list[str]:
    """The recipes whose names begin so."""
    from dimbench import presets

    return [name for name in presets.recipes() if name.startswith(incomplete)]


Names = Annotated[
    list[str],
    typer.Argument(
        help=f"Model names or wildcards, as `dimbench list` shows them; {_ALSO}",
        metavar="NAME...",
        autocompletion=begun,
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        help=f"A model name, as `dimbench list` shows it; {_ALSO}",
        metavar="NAME",
        show_default=False,
        autocompletion=begun,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the network, may be given again.", metavar="KEY=VALUE", show_default="none"),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="What a network of your own is called with, one sample's shape: x=4x32x32, ids=128:int64, t=scalar.",
        metavar="NAME=SHAPE[:DTYPE]",
        show_default="x, t and y by their names",
    ),
]
Process = Annotated[
    str | None,
    typer.Option(
        help="What a network of your own was trained on: gaussian, flow, rectified-flow (told the share of noise), "
        "stable-diffusion, variance-preserving or mean-flow, as a preset's [diffusion] says it; with settings as in "
        "gaussian,prediction=velocity or rectified-flow,shift=3.",
        show_default="as its preset says",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(min=1, help="Frames of a clip, for networks that draw such.", show_default="the model's own"),
]
Fetch = Annotated[
    bool, typer.Option("--fetch", help="Ask the hub for what NAME means, where that is an hf:owner/name not here yet.")
]
# Of a side, in one call, of a CPU: far beyond what runs, and far below where sizes overflow.
MOST_PIXELS, MOST_IMAGES, MOST_THREADS = 16_384, 2**24, 4096


def _resolution(text: str | None) -> image_size.Resolution | None:
    return None if text is None else image_size.parse(text, MOST_PIXELS)


Resolution = Annotated[
    str | None,
    typer.Option(
        callback=_resolution,
        help="Side of the images in pixels, the height where a model's own shape is no square; of networks that draw "
        "any shape also height and width, as 160x320.",
        metavar="PIXELS",
        show_default="the model's own, 256 for published models",
    ),
]


def given(ctx: typer.Context, names: Sequence[str]) -> str | None:
    """The first of these options that was given, as it is typed."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return name.strip("_").replace("_", "-")
    return None


def chosen(names: list[str], settings: list[str] | None, fetch: bool = False, weights: bool = False) -> list[str]:
    """The names with --set behind them, wildcards resolved; with `fetch` those of the hub are brought here first, their
    `weights` too."""
    from dimbench import hub, presets

    for setting in settings or ():
        if not re.fullmatch(presets.SETTING, setting):
            raise UsageError(
                f"--set {setting!r} is not understood; give KEY=VALUE, such as width=384, or depth=[1,2] for several"
            )
    found = presets.chosen(names)
    for head in (presets.split(name)[0] for name in found if fetch):
        if hub.is_name(head):
            from dimbench.weights import opening

            hub.fetch_network(hub.parse(head), opening.NETWORKS, weights)
    return [",".join([name, *(settings or ())]) for name in found]


def backbones(
    names: list[str],
    resolution: image_size.Resolution | None,
    settings: list[str] | None,
    inputs: list[str] | None,
    process: str | None,
    frames: int | None,
    fetch: bool,
    weights: bool,
) -> list[Backbone]:
    """All that a command's options mean; --input and --process are of those that do not know their own."""
    from dimbench import presets
    from dimbench.backbone import find

    texts = chosen(names, settings, fetch, weights)
    return [
        find(
            text,
            resolution,
            inputs=presets.meant_for(text, inputs or (), texts),
            process=presets.meant_for(text, process, texts) or None,
            frames=frames,
        )
        for text in texts
    ]


def _force(context: typer.Context, kernel: str | None) -> str | None:
    """Until the command ends."""
    if kernel is not None:
        from dimbench.kernels import backends

        context.with_resource(backends.use(kernel))
        backends.check(kernel)
    return kernel


Kernel = Annotated[
    str | None,
    typer.Option(
        callback=_force,
        help="Backend for every operator that has it, as `dimbench kernels` lists them; an error where it cannot run.",
        show_default="each operator's first that can run",
    ),
]
Format = Annotated[
    Form,
    typer.Option(
        "--format",
        help="For a terminal, CSV, Markdown, LaTeX (booktabs), an HTML page, or records as JSON and nothing else; "
        "--csv, --markdown and --json say it shorter.",
        show_default="a table",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="File the records are appended to, JSON lines.",
        show_default="records.jsonl in ./results, or in the user's own folder",
    ),
]
Rounds = Annotated[
    int, typer.Option(min=3, help="Rounds at first; in each, both sides run once in a fresh process of their own.")
]
RoundBudget = Annotated[float, typer.Option(min=0.1, help="Seconds that bench may measure per process (its --budget).")]
ForBench = Annotated[
    str, typer.Option("--bench", help="Options of bench for both sides, such as '--batch 8'.", show_default="none")
]
OrderSeed = Annotated[int, typer.Option(help="Seed of the order in which the two sides run.")]


class Dtype(StrEnum):
    """The names of dimbench.sampling.precision.DTYPES, here so that --help needs no torch; a test compares the two."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"


Device = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda or cuda:N.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_THREADS, help="Threads of the CPU.", show_default="torch's choice, all cores"),
]
Plan = Annotated[bool, typer.Option("--plan", help="Only print what it would need: files, time, disk.")]
ForRanks = Annotated[
    int | None, typer.Option("--ranks", min=1, help="With --plan: of so many ranks.", show_default="those that run")
]
Shard = Annotated[
    str,
    typer.Option(
        help="Part i of n as i/n, for the jobs of an array; `dimbench merge` puts their files together.", metavar="I/N"
    ),
]
BenchBudget = Annotated[float, typer.Option(help="Seconds for warm-up and samples of a row at most.")]


TimedSteps = Annotated[
    int | None,
    typer.Option("--steps", min=1, help="Time whole sampling runs of so many steps.", show_default="one call"),
]
Guided = Annotated[bool, typer.Option("--cfg", help="With --steps: guided, so twice the images per call.")]
Steps = Annotated[int, typer.Option(min=1, help="Sampler steps; for a time grid, its points.")]
Cfg = Annotated[float, typer.Option(help="Scale of classifier-free guidance; 1 is none.")]
Sampler = Annotated[
    str | None,
    typer.Option(
        help="ddpm or ddim of DiT and what is trained as it is; euler, heun2, midpoint, rk4, dopri5, sde-euler or "
        "sde-heun of SiT; euler or heun of other flows; dpm-solver or dpm-solver++ of DiM and Stable Diffusion; "
        "euler-maruyama of scores; average of MeanFlow.",
        show_default="the family's own",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="random: uniform over the classes; balanced: all classes in turn; or labels such as 3 or 0,1,2, in turn.",
        show_default="balanced",
    ),
]
Seed = Annotated[int, typer.Option(help="Noise and label of image k depend on the seed and on k alone.")]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST_IMAGES,
        help="Images per network call; changes the last bits of an image, not its noise or label.",
    ),
]
DrawDtype = Annotated[
    Dtype, typer.Option(help="Precision of the network and the autoencoder; the sampler's state stays float32.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile.")]
CudaGraph = Annotated[
    bool,
    typer.Option("--cuda-graph", help="Replay the network's launches as a CUDA graph, which pays for small batches."),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        help="A method that makes the run cheaper, as `dimbench methods` lists them; may be given again.",
        metavar="METHOD[:KEY=VALUE,...]",
        show_default="none",
    ),
]
Guide = Annotated[
    str | None,
    typer.Option(
        help="Guide by this worse network in place of the half without a condition, as autoguidance does.",
        metavar="NAME[:WEIGHTS]",
        show_default="none",
    ),
]


def show_plan(name: str, parts: Iterable[str]) -> None:
    """Print the parts as they come, after the name of what they are of where there are several."""
    if name:
        typer.echo(name)
    for part in parts:
        typer.echo(part)


def methods(with_: list[str] | None, guide: str | None) -> tuple[str, ...]:
    """Those of --with, and of --guide, "dit-digits:w.pt", the method that it means."""
    if guide is None:
        return tuple(with_ or ())
    name, weights = presets.with_weights(guide)
    return (*(with_ or ()), f"autoguidance:guide={name}" + (f",weights={weights}" if weights else ""))


Weights = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint: a file, an index of several, a folder, or hf:owner/name.",
        show_default="one that ships or was fetched, if any",
    ),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="A dry run with the untrained network: its numbers mean nothing.")
]
Autoencoder = Annotated[
    str | None,
    typer.Option(
        help="What decodes latents: ft-ema, ft-mse, a folder that diffusers saved, a file, or hf:owner/name.",
        show_default="that of its latents",
    ),
]


Reference = Annotated[
    Path | None,
    typer.Option(
        help="Real images to compare with: statistics, features or images, as npz, torch-fidelity's .pt or folder.",
        show_default="ImageNet's, if fetched; held-back digits",
    ),
]
Inception = Annotated[
    Path | None,
    typer.Option(help="Weights of the Inception network.", show_default="those fetched; digits need none"),
]
ExtractorName = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="Network whose features are compared: digits-classifier, inception-v3-compat, or with their "
        "weights dinov2-vitl14:FILE (FD-DINOv2), clip-vit-l14-336:FOLDER (CMMD) and fdr-...:FOLDER, the five "
        "others of FDr.",
        show_default="the former for 8 x 8 pixels, else the latter",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="With --images and CLIP as --extractor: a line of text for each image in its order, for the CLIP score.",
        show_default="no CLIP score",
    ),
]
Lpips = Annotated[
    Path | None,
    typer.Option(help="With --autoencoder: the authors' weights of LPIPS by VGG16 (vgg.pth).", show_default="no LPIPS"),
]
Vgg = Annotated[
    Path | None,
    typer.Option(
        help="Weights of VGG16, for precision and recall by its features too.",
        show_default="those fetched, beside Inception",
    ),
]


def check_ranks(for_ranks: int | None, plan: bool) -> None:
    """Raise UsageError where ranks are to be planned for and nothing is planned."""
    if for_ranks and not plan:
        raise UsageError(f"--ranks {for_ranks} is only planned for; give --plan, or start them with torchrun or srun")
