"""Between images in [-1, 1], as networks see them, and bytes, as files and metrics see them."""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.errors import DimbenchError

UINT8_RULE = "127.5 x + 128, clamped, fraction cut off"


def to_uint8(images: Tensor) -> Tensor:
    """uint8 images of the shape given: 127.5 x + 128, clamped to 0..255, the fraction cut off (DiT's and SiT's rule).

    Raises DimbenchError where a pixel is NaN or infinite: its byte would be arbitrary and look like a picture.
    """
    if not images.isfinite().all():
        raise DimbenchError(
            "The images hold NaN or infinite pixels where numbers near [-1, 1] were expected: "
            "the model diverged, so look at its loss, its weights or its precision before measuring it."
        )
    return (127.5 * images.float() + 128.0).clamp(0, 255).to(torch.uint8)
