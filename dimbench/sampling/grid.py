"""Images on one labelled sheet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dimbench.errors import DimbenchError, reason
from dimbench.files import replacing

_TILE = 64  # smallest side of an image on the sheet, in pixels
_CAPTION = 18
_GAP = 6


def sheet(images: Tensor, labels: Sequence[int], columns: int) -> Image.Image:
    """uint8 images (n, 1 or 3, h, w) in rows of `columns`, enlarged if small, each under its label where there are
    labels."""
    factor = max(1, -(-_TILE // images.shape[-1]))
    height, width = images.shape[-2] * factor, images.shape[-1] * factor
    rows = -(-len(images) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _CAPTION + _GAP) + _GAP)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for index, (image, label) in enumerate(zip_longest(images, labels)):
        left = _GAP + index % columns * (width + _GAP)
        top = _GAP + index // columns * (height + _CAPTION + _GAP)
        if labels:
            pen.text((left + width // 2, top + _CAPTION // 2), str(label), fill="black", font=font, anchor="mm")
        pixels = np.repeat(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), factor, axis=0)
        page.paste(Image.fromarray(np.repeat(pixels, factor, axis=1)), (left, top + _CAPTION))
    return page


def save(page: Image.Image, path: Path) -> None:
    """Write a PNG under a temporary name, then rename."""
    try:
        with replacing(path) as temporary:
            page.save(temporary, format="PNG")
    except OSError as error:
        raise DimbenchError(f"cannot write {path} ({reason(error)}); give another --to") from None
