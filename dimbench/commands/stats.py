from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench import paths, units
from dimbench.commands import options
from dimbench.commands.emit import check_place, show_rows, writing
from dimbench.errors import UsageError
from dimbench.quality import networks as comparing
from dimbench.quality import plan as planning
from dimbench.report.tables import Table
from dimbench.sampling import ranks
from dimbench.sampling import request as requests

FEATURES = 10_000  # as many images as ADM's references hold


def run(
    images: Annotated[Path, typer.Argument(help="A folder of pictures or an npz of images (arr_0).", metavar="IMAGES")],
    to: Annotated[Path, typer.Option(help="The reference to write, npz.")],
    features: Annotated[
        int, typer.Option(min=0, help="Images, evenly spread, whose features are kept for KID, precision and recall.")
    ] = FEATURES,
    batch: Annotated[
        int, typer.Option(min=1, max=options.MOST_IMAGES, help="Images that go through the network at once.")
    ] = 64,
    device: options.Device = "cpu",
    extractor: options.ExtractorName = None,
    inception: options.Inception = None,
    vgg: options.Vgg = None,
    plan: options.Plan = False,
    for_ranks: options.ForRanks = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Make a reference of real images that `fid --reference` takes: statistics, features, and what made them."""
    from dimbench.files import digest
    from dimbench.quality.images import open_images
    from dimbench.quality.references import write_reference

    options.check_ranks(for_ranks, plan)
    if to.suffix.lower() != ".npz":
        raise UsageError(f"--to {to} is not an npz; give a name that ends in .npz")
    if to.is_dir():
        raise UsageError(f"--to {to} is a folder; give the name of a file that ends in .npz")
    found = open_images(images)
    networks = comparing.Networks(extractor, inception, vgg).found(found.size)
    here = ranks.here()
    if plan:
        if here.first:
            opened = lambda: (networks.open(device), 0)  # noqa: E731
            options.show_plan("", planning.looking(found, networks.missing, batch, opened, for_ranks))
        return
    requests.refuse_if_missing(f"a reference of {images}", networks.missing)
    if here.first:
        check_place(to, "--to")
    planning.say_first(planning.of_images(found))
    network = networks.open(here.device(device))
    here.check_same({"images": found.listing, "extractor_sha256": network.sha256[:16]})
    common = here.all_see(paths.cache_folder())
    planning.say_first(planning.of_looking(found, 0, network, batch, common=common))
    summary = comparing.summarised(found, network, features, batch, here)
    if not here.first:
        return
    with writing(to, "--to") as temporary:
        write_reference(summary, network, found.size, temporary)
    height, width = found.size
    dimensions = len(summary.pool.mu)
    notes = found.doubts("The")
    if found.count <= dimensions:
        notes.append(f"{found.count:,} images do not fill {dimensions:,} feature dimensions: FID will be biased.")
    row = (
        str(to),
        units.exact(found.count),
        f"{height} x {width}",
        network.name if summary.vgg is None else f"{network.name}, vgg16",
        units.size(to.stat().st_size),
        digest(to)[:16],
    )
    columns = ("reference", "images", "pixels", "features of", "size", "SHA-256")
    with here.once("table") as mine:
        if mine:
            show_rows(Table(columns, [row], notes=notes), form)
