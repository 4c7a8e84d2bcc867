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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import digest, replacing
from dimbench.quality import archives
from dimbench.quality.checks import checked
from dimbench.quality.features import Extractor
from dimbench.quality.images import ARRAY, Images, digit_images, open_images, open_npz_images
from dimbench.quality.shared_features import looked_at
from dimbench.quality.statistics import Statistics, statistics_of
from dimbench.quality.summary import FeatureSummary
from dimbench.quality.vgg import vgg_sha256
from dimbench.sampling.ranks import ALONE, Ranks

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
        self.check_size(size)
        probe = extractor.features(torch.zeros(1, 3, *size, dtype=torch.uint8))
        for name, given in self._dimensions():
            if name in probe and given != probe[name].shape[1]:
                raise UsageError(
                    f"The reference {self.name} has {name} features of {given} dimensions and {extractor.name} of "
                    f"{probe[name].shape[1]}: give a reference that was made by this extractor."
                )
        return self._doubts()

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise UsageError where the reference is of images of another size, as far as it says it."""
        if self.size and size != self.size:
            raise UsageError(
                f"The reference {self.name} is of {self.size[0]} x {self.size[1]} pixels and the images of {size[0]} x "
                f"{size[1]}: give a reference of the same resolution, for resizing changes every metric."
            )

    def _dimensions(self) -> list[tuple[str, int]]:
        found = [("pool", self.pool.mu)] if self.pool else []
        found += [("spatial", self.spatial.mu)] if self.spatial else []
        return [(name, len(mu)) for name, mu in found]

    def _doubts(self) -> list[str]:
        if self.images:
            return self.images.doubts("The reference's")
        unsaid = [what for what, said in (("resolution", self.size), ("extractor", self.extractor)) if said is None]
        return [f"The reference {self.name} does not say its {' and its '.join(unsaid)}."] if unsaid else []

    def summary(
        self, extractor: Extractor, batch: int, on_images: Callable[[int], None] | None = None, here: Ranks = ALONE
    ) -> FeatureSummary:
        """What the metrics need of it; images, where there are any and features are not, go through the extractor,
        shared out among the ranks `here`."""
        if self.images is None or self.features is not None:
            assert self.pool is not None
            return FeatureSummary(self.pool, self.spatial, self.features, vgg=self.vgg)
        seen = looked_at(self.images, extractor, None, batch, on_images, here)
        if self.pool is None:
            return seen
        return replace(seen, pool=self.pool, spatial=self.spatial)


def read_reference(path: Path) -> Reference:
    """The reference at `path`, of any kind in this module's table.

    Raises UsageError for a path of another kind, DimbenchError where the file is damaged.
    """
    if path.is_dir():
        images = open_images(path)
        return Reference(path.name, _folder_digest(path, images), images=images, size=images.size)
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
        arrays["pool"] = summary.features[:].numpy()
    if summary.vgg is not None:
        arrays |= {"vgg": summary.vgg[:].numpy(), "vgg_sha256": vgg_sha256(extractor)}
    known = {"n": summary.pool.n, "pixels_sha256": summary.pixels_sha256}
    arrays |= {name: value for name, value in known.items() if value is not None}
    arrays |= {"extractor": extractor.name, "extractor_sha256": extractor.sha256}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _read_npz(path: Path) -> Reference:
    names = archives.names(path)
    if not {"mu", "feats", ARRAY} & set(names):
        raise UsageError(
            f"The reference {path} holds {', '.join(sorted(names)) or 'nothing'} where statistics (mu, sigma), "
            f"features (feats) or images ({ARRAY}) were expected: make one with `dimbench stats`."
        )
    images = open_npz_images(path) if ARRAY in names else None
    reference = _assembled(path, archives.arrays(path, STATISTICS))
    return replace(reference, images=images, size=images.size if images else reference.size)


def _read_cache(path: Path) -> Reference:
    """A cache of torch-fidelity, which pickles numpy arrays or a tensor; nothing else is unpickled."""
    rebuild = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [rebuild, np.ndarray, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType]
    allowed.append((rebuild, "numpy.core.multiarray._reconstruct"))  # what numpy 1 calls it
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever damage makes it meet
        raise DimbenchError(
            f"The reference {path} cannot be read as a torch-fidelity cache, so it was cut off or is of another kind: "
            "make it again, or give an npz."
        ) from error
    if isinstance(found, Tensor):
        return _assembled(path, {"feats": _array(found, "feats", path)})
    if isinstance(found, dict) and {"mu", "sigma"} <= found.keys():
        return _assembled(path, {name: _array(found[name], name, path) for name in ("mu", "sigma")})
    raise UsageError(
        f"The reference {path} holds neither mu and sigma nor features (N, D), as torch-fidelity's caches "
        "*-stat-fid-2048.pt and *-features-2048.pt do: give one of these."
    )


def _array(value: Any, name: str, path: Path) -> np.ndarray:
    """What a cache holds as an array; UsageError for what is none, such as rows of unlike lengths."""
    try:
        return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"The reference {path} holds a {name} that is no array of numbers: make it again, or give an npz."
        ) from error


def _assembled(path: Path, found: Mapping[str, np.ndarray]) -> Reference:
    """The reference in arrays of any origin. Raises UsageError for those of another kind."""

    def tensor(name: str) -> Tensor | None:
        if name not in found:
            return None
        array = archives.numbers(found[name], f"{name} of the reference {path}")
        return checked(torch.from_numpy(array), "The reference's")

    def text(name: str) -> str | None:
        return str(found[name]) if name in found else None

    images = _whole_numbers(found, "n", 1, path)
    size = _whole_numbers(found, "size", 2, path)
    n = images[0] if images else None
    features = tensor("pool" if "pool" in found else "feats")
    pool = _gaussian(found, "mu", "sigma", n, path)
    if pool is None and features is not None:
        pool = statistics_of(features)
    return Reference(
        path.name,
        digest(path),
        pool,
        _gaussian(found, "mu_s", "sigma_s", n, path),
        features,
        size=(size[0], size[1]) if size else None,
        extractor=text("extractor"),
        extractor_sha256=text("extractor_sha256"),
        vgg=tensor("vgg"),
        vgg_sha256=text("vgg_sha256"),
    )


def _whole_numbers(found: Mapping[str, np.ndarray], name: str, count: int, path: Path) -> list[int]:
    """The positive whole numbers in an array, none where there is no such array."""
    if name not in found:
        return []
    array = found[name]
    if array.dtype.kind not in "iu" or array.size != count or (array < 1).any():
        raise UsageError(f"{name} of the reference {path} is no whole number above 0: make it again.")
    return [int(value) for value in array.flat]


def _gaussian(
    found: Mapping[str, np.ndarray], mean: str, covariance: str, n: int | None, path: Path
) -> Statistics | None:
    """The Gaussian in two arrays, None where there are none.

    Raises UsageError for arrays that are no mean and covariance, DimbenchError for values that are not finite.
    """
    if mean not in found and covariance not in found:
        return None
    mu, sigma = (
        archives.numbers(found.get(name, np.empty(0)), f"{name} of the reference {path}") for name in (mean, covariance)
    )
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)):
        raise UsageError(
            f"The reference {path} holds {mean} of the shape {mu.shape} and {covariance} of {sigma.shape} where (D,) "
            "and (D, D) were expected: make or download it again."
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise DimbenchError(
            f"The reference {path} holds NaN or infinity: the file is damaged, or a model diverged; make it again."
        )
    statistics = Statistics(torch.from_numpy(mu).double(), torch.from_numpy(sigma).double(), n)
    if fault := statistics.fault:
        raise UsageError(
            f"{covariance} of the reference {path} is no covariance, for it {fault}: make or download it again."
        )
    return statistics


def _folder_digest(path: Path, images: Images) -> str:
    """Of the names and contents of the files in which the images are."""
    whole = hashlib.sha256()
    for file in images.files:
        whole.update(f"{file.relative_to(path)} {digest(file)}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
