"""How large an image is, as commands and functions are told it."""

from __future__ import annotations

import re

from dimbench.errors import UsageError

Resolution = int | str
"""The side of a square in pixels, or the height of what a network draws in a shape of its own; or height and width as
"160x320"."""


def parse(text: str, most: int) -> Resolution:
    """ "256" -> 256; "160x320" and "256x256" as they are. UsageError for what is not understood, and for a side beyond
    `most`."""
    sides = text.strip().split("x")
    if len(sides) > 2 or not all(re.fullmatch("[0-9]{1,9}", side) and 1 <= int(side) <= most for side in sides):
        raise UsageError(
            f"--resolution {text!r} is not understood; give the side in pixels, from 1 to {most}, or height and width "
            "as 160x320"
        )
    height, *width = map(int, sides)
    return f"{height}x{width[0]}" if width else height


def several(text: str, most: int) -> list[Resolution]:
    """ "256,160x320" -> [256, "160x320"], each once."""
    return list(dict.fromkeys(parse(part, most) for part in text.split(",")))


def sides(resolution: Resolution) -> tuple[int, int]:
    """Height and width in pixels."""
    if isinstance(resolution, int):
        return resolution, resolution
    height, width = resolution.split("x")
    return int(height), int(width)
