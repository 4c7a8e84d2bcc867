"""What images are compared with: files of statistics, features or images of every common kind, checked when opened.

| file | holds |
| --- | --- |
| ADM's VIRTUAL_*.npz | mu, sigma, mu_s, sigma_s of the whole data set, and some images, arr_0 |
| an npz of ADM's samples | images, arr_0 |
| pytorch-fid's and clean-fid's npz | mu, sigma |
| clean-fid's npz for KID | feats, (N, D) |
| torch-fidelity's cache *-stat-fid-2048.pt | {mu, sigma} |
| torch-fidelity's cache *-features-2048.pt | (N, D) |
| dimbench's npz | mu, sigma, mu_s, sigma_s, pool (k, D), vgg (k, V), n, size, the SHA-256 of networks and pixels |
| a folder | pictures |
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import digest, replacing
from dimbench.quality.checks import checked
from dimbench.quality.features import Extractor
from dimbench.quality.images import ARRAY, BROKEN_ZIP, Images, cut_off, digit_images, open_images, open_npz_images
from dimbench.quality.statistics import Statistics, statistics_of
from dimbench.quality.summary import FeatureSummary, summarise
from dimbench.quality.vgg import vgg_sha256

STATISTICS = (
    "mu", "sigma", "mu_s", "sigma_s", "n", "size", "extractor", "extractor_sha256", "pool", "feats",
    "vgg", "vgg_sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A reference as it lies on disk; None stands for what its file does not say. `sha256` is the file's, of a folder
    that of its pictures' names and contents."""

    name: str
    sha256: str
    pool: Statistics | None = None
    spatial: Statistics | None = None
    features: Tensor | None = None
    images: Images | None = None
    size: tuple[int, int] | None = None
    extractor: str | None = None
    extractor_sha256: str | None = None
    vgg: Tensor | None = None
    vgg_sha256: str | None = None

    @property
    def images_to_read(self) -> int:
        """How many images go through the extractor before anything can be compared."""
        return self.images.count if self.images and self.features is None else 0

    @property
    def has_vgg(self) -> bool:
        """Whether features of VGG are here or can be had from the images."""
        return self.vgg is not None or self.images_to_read > 0

    def check(self, extractor: Extractor, size: tuple[int, int]) -> list[str]:
        """Warnings for images of `size` (height, width) seen by this extractor.

        Raises UsageError where the reference was made for other images or by another extractor.
        """
        if self.extractor_sha256 and self.extractor_sha256 != extractor.sha256:
            other = f"and not by {extractor.name}" if self.extractor != extractor.name else "with other weights"
            raise UsageError(
                f"The reference {self.name} was made by {self.extractor} {other}: make it again with `dimbench stats`."
            )
        if self.vgg_sha256 and vgg_sha256(extractor) not in (None, self.vgg_sha256):
            raise UsageError(
                f"The reference {self.name} was made by a VGG of other weights than those given: make it again with "
                "`dimbench stats`."
            )
        if self.size and size != self.size:
            raise UsageError(
                f"The reference {self.name} is of {self.size[0]} x {self.size[1]} pixels and the images of {size[0]} x "
                f"{size[1]}: give a reference of the same resolution, for resizing changes every metric."
            )
        probe = extractor.features(torch.zeros(1, 3, *size, dtype=torch.uint8))
        for name, given in self._dimensions():
            if name in probe and given != probe[name].shape[1]:
                raise UsageError(
                    f"The reference {self.name} has {name} features of {given} dimensions and {extractor.name} of "
                    f"{probe[name].shape[1]}: give a reference that was made by this extractor."
                )
        return self._doubts()

    def _dimensions(self) -> list[tuple[str, int]]:
        found = [("pool", self.pool.mu)] if self.pool else []
        found += [("spatial", self.spatial.mu)] if self.spatial else []
        return [(name, len(mu)) for name, mu in found]

    def _doubts(self) -> list[str]:
        if self.images:
            return lossy_warning(self.images, "The reference's")
        unsaid = [what for what, said in (("resolution", self.size), ("extractor", self.extractor)) if said is None]
        return [f"The reference {self.name} does not say its {' and its '.join(unsaid)}."] if unsaid else []

    def summary(
        self, extractor: Extractor, batch: int, on_images: Callable[[int], None] | None = None
    ) -> FeatureSummary:
        """What the metrics need of it; images, where there are any and features are not, go through the extractor."""
        if self.images is None or self.features is not None:
            assert self.pool is not None
            return FeatureSummary(self.pool, self.spatial, self.features, vgg=self.vgg)
        seen = summarise(extractor, self.images.batches(batch), self.images.count, on_images=on_images)
        if self.pool is None:
            return seen
        return replace(seen, pool=self.pool, spatial=self.spatial)


def lossy_warning(images: Images, whose: str) -> list[str]:
    """A sentence where some pictures were stored with loss."""
    if not images.lossy:
        return []
    return [
        f"{whose} images are stored with loss ({images.lossy:,} of {images.count:,} are JPEG or WebP): their artefacts "
        "change FID, so store PNG."
    ]


def read_reference(path: Path) -> Reference:
    """The reference at `path`, of any kind in this module's table.

    Raises UsageError for a path of another kind, DimbenchError where the file is damaged.
    """
    if path.is_dir():
        images = open_images(path)
        return Reference(path.name, _folder_digest(path), images=images, size=images.size)
    if not path.is_file():
        raise UsageError(f"There is no reference at {path}: give an npz, a torch-fidelity cache (.pt) or a folder.")
    if path.suffix.lower() in (".pt", ".pth"):
        return _read_cache(path)
    if path.suffix.lower() != ".npz":
        raise UsageError(f"The reference {path} is no npz, torch-fidelity cache (.pt) or folder: give one of these.")
    return _read_npz(path)


def held_back_digits() -> Reference:
    """The embedded digits that no shipped model was trained on."""
    images = digit_images("held-out")
    return Reference("held-back digits", digest(images.path), images=images, size=images.size)


def write_reference(summary: FeatureSummary, extractor: Extractor, size: tuple[int, int], path: Path) -> None:
    """Write a summary as an npz that `read_reference` reads, and pytorch-fid too."""
    arrays: dict[str, Any] = {"mu": summary.pool.mu.numpy(), "sigma": summary.pool.sigma.numpy(), "size": size}
    if summary.spatial:
        arrays |= {"mu_s": summary.spatial.mu.numpy(), "sigma_s": summary.spatial.sigma.numpy()}
    if summary.features is not None:
        arrays["pool"] = summary.features.numpy()
    if summary.vgg is not None:
        arrays |= {"vgg": summary.vgg.numpy(), "vgg_sha256": vgg_sha256(extractor)}
    known = {"n": summary.pool.n, "pixels_sha256": summary.pixels_sha256}
    arrays |= {name: value for name, value in known.items() if value is not None}
    arrays |= {"extractor": extractor.name, "extractor_sha256": extractor.sha256}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _read_npz(path: Path) -> Reference:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            found = {name: np.array(file[name]) for name in STATISTICS if name in names}
    except BROKEN_ZIP as error:
        raise cut_off(path) from error
    if not names & {"mu", "feats", ARRAY}:
        raise UsageError(
            f"The reference {path} holds {', '.join(sorted(names)) or 'nothing'} where statistics (mu, sigma), "
            f"features (feats) or images ({ARRAY}) were expected: make one with `dimbench stats`."
        )
    images = open_npz_images(path) if ARRAY in names else None
    reference = _assembled(path, found)
    return replace(reference, images=images, size=images.size if images else reference.size)


def _read_cache(path: Path) -> Reference:
    """A cache of torch-fidelity, which pickles numpy arrays or a tensor; nothing else is unpickled."""
    rebuild = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [rebuild, np.ndarray, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType]
    allowed.append((rebuild, "numpy.core.multiarray._reconstruct"))  # what numpy 1 calls it
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DimbenchError(
            f"The reference {path} cannot be read as a torch-fidelity cache, so it was cut off or is of another kind: "
            "make it again, or give an npz."
        ) from error
    if isinstance(found, Tensor):
        return _assembled(path, {"feats": found.numpy()})
    if isinstance(found, dict) and {"mu", "sigma"} <= found.keys():
        return _assembled(path, {name: np.asarray(found[name]) for name in ("mu", "sigma")})
    raise UsageError(
        f"The reference {path} holds neither mu and sigma nor features (N, D), as torch-fidelity's caches "
        "*-stat-fid-2048.pt and *-features-2048.pt do: give one of these."
    )


def _assembled(path: Path, found: Mapping[str, np.ndarray]) -> Reference:
    n = int(found["n"]) if "n" in found else None
    pool = _gaussian(found, "mu", "sigma", n, path)
    features = next((torch.from_numpy(found[name]) for name in ("pool", "feats") if name in found), None)
    vgg = torch.from_numpy(found["vgg"]) if "vgg" in found else None
    for known in (features, vgg):
        if known is not None:
            checked(known, "The reference's")
    if features is not None:
        pool = pool or statistics_of(features)
    return Reference(
        path.name,
        digest(path),
        pool,
        _gaussian(found, "mu_s", "sigma_s", n, path),
        features,
        size=(int(found["size"][0]), int(found["size"][1])) if "size" in found else None,
        extractor=str(found["extractor"]) if "extractor" in found else None,
        extractor_sha256=str(found["extractor_sha256"]) if "extractor_sha256" in found else None,
        vgg=vgg,
        vgg_sha256=str(found["vgg_sha256"]) if "vgg_sha256" in found else None,
    )


def _gaussian(
    found: Mapping[str, np.ndarray], mean: str, covariance: str, n: int | None, path: Path
) -> Statistics | None:  # fmt: skip
    """The Gaussian in two arrays, None where there are none. Raises UsageError for wrong shapes, DimbenchError for
    values that are not finite."""
    if mean not in found and covariance not in found:
        return None
    mu, sigma = found.get(mean, np.empty(0)), found.get(covariance, np.empty(0))
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)):
        raise UsageError(
            f"The reference {path} holds {mean} of the shape {mu.shape} and {covariance} of {sigma.shape} where (D,) "
            "and (D, D) were expected: make or download it again."
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise DimbenchError(
            f"The reference {path} holds NaN or infinity: the file is damaged, or a model diverged; make it again."
        )
    return Statistics(torch.from_numpy(mu).double(), torch.from_numpy(sigma).double(), n)


def _folder_digest(path: Path) -> str:
    """Of the names and contents of all pictures."""
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{file.relative_to(path)} {digest(file)}\n".encode())
    return whole.hexdigest()
