from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dimbench import results
from dimbench.commands import options
from dimbench.commands.emit import show_entries
from dimbench.quality import fdr
from dimbench.report import quality


def run(
    file: Annotated[Path, typer.Argument(help="Records of `dimbench fid`, one a space.", metavar="RECORDS")],
    held_back: Annotated[
        str | None,
        typer.Option(
            help="Which of them are of real images that are not in the reference.",
            metavar="NAME",
            show_default="the paper's figures of ImageNet at 256 pixels",
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Set distances of several extractors beside those of real images held back, and average: FDr (arXiv 2604.28190).

    The paper's six spaces are those of inception-v3-compat and of the extractors that begin with fdr-.
    """  # fmt: skip
    found = fdr.averaged(results.read(file), held_back)
    entries = [
        {**asdict(each), "fdr": each.fdr, "spaces": len(each.ratios), "missing": each.missing,
         "ratios": [{**asdict(ratio), "fdr": ratio.fdr} for ratio in each.ratios]}
        for each in found
    ]  # fmt: skip
    show_entries(lambda: entries, quality.ratios(found, held_back), form)
