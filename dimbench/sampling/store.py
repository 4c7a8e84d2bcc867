"""Images that were drawn so far, on disk: an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import DimbenchError


class ImageStore:
    """A file with one line of JSON, the settings, and then raw uint8 images one after another.

    Opened with other settings than it was made with, it refuses. A last image that was cut off is dropped.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
        self.path = path
        self.shape = shape
        self.header = (json.dumps({**settings, "shape": shape}, sort_keys=True) + "\n").encode()
        if path.exists():
            self._check_settings()
        else:
            self._write(self.header, "wb")

    def _check_settings(self) -> None:
        with self.path.open("rb") as file:
            found = file.readline()
        if found != self.header:
            raise DimbenchError(
                f"{self.path} holds images of another run (other model, weights or settings); delete it or give "
                "another --out"
            )

    @property
    def _size(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return (self.path.stat().st_size - len(self.header)) // self._size

    def append(self, images: Tensor) -> None:
        """Add uint8 images (n, *shape), on disk when this returns."""
        os.truncate(self.path, len(self.header) + len(self) * self._size)
        self._write(images.contiguous().numpy().tobytes(), "ab")

    def _write(self, data: bytes, mode: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            done = len(self) if self.path.exists() else 0
            raise DimbenchError(
                f"cannot write to {self.path} ({error.strerror}); the {done} images drawn before are kept: make room "
                "and run again to go on"
            ) from None

    def images(self) -> Tensor:
        """All images, uint8 (n, *shape)."""
        data = self.path.read_bytes()[len(self.header) :]
        count = len(data) // self._size
        return torch.from_numpy(np.frombuffer(data[: count * self._size], np.uint8).copy()).view(count, *self.shape)

    def remove(self) -> None:
        self.path.unlink()
