"""How images on disk were drawn: what `dimbench sample` wrote beside them, believed only of the very same pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimbench.files import json_object
from dimbench.quality.features import as_rgb
from dimbench.quality.summary import image_digests
from dimbench.sampling import shards

MANIFEST = "manifest.json"
LAYOUT = ("images_per_shard", "image_shape", "image_dtype")  # of the folder, not of the images


@dataclass(frozen=True)
class FolderClaim:
    """The settings that the manifest in `folder` gives, the model among them."""

    folder: Path
    settings: dict[str, Any]

    @property
    def refuted(self) -> str:
        """What to say of images for which it does not hold."""
        return (
            f"{self.folder / MANIFEST} says that {self.settings['model']} drew these images, but their pixels are not "
            "those of its shards, or those are gone: the figures are given under the folder's name."
        )

    def holds(self, count: int, pixels_sha256: str) -> bool:
        """Whether the first `count` images that were drawn, which lie beside the manifest with their checksums, have
        these pixels."""
        whole, left = hashlib.sha256(), count
        for drawn in shards.kept(self.folder):
            whole.update(image_digests(as_rgb(drawn[:left])).numpy().tobytes())
            left -= min(left, len(drawn))
            if not left:
                return whole.hexdigest() == pixels_sha256
        return False


def claimed(place: Path) -> FolderClaim | None:
    """What is said of the images in the folder `place`, or of the file `place` in one; None where nothing is."""
    folder = place if place.is_dir() else place.parent
    try:
        said = json_object(folder / MANIFEST)
    except (OSError, ValueError):
        return None
    if not isinstance(said.get("model"), str):
        return None
    return FolderClaim(folder, {name: value for name, value in said.items() if name not in LAYOUT})
