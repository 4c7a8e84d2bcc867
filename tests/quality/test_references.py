"""Every format of reference that others write, and what is wrong with files that look like one."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import digest
from dimbench.quality.features import create_extractor
from dimbench.quality.references import Reference, read_reference, write_reference
from dimbench.quality.summary import FeatureSummary, summary_of
from tests.quality.sets import digit_features, digit_images, gaussian
from tests.quality.test_fidelity import Images
from tests.quality.test_images import write_folder

DIGITS = "digits-classifier"


def arrays(dimensions: int = 64) -> dict[str, Any]:
    given = gaussian(dimensions)
    return {"mu": given.mu.numpy(), "sigma": given.sigma.numpy()}


def nhwc(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def opened(reference: Reference) -> FeatureSummary:
    """Its summary by the digits classifier, after the checks."""
    extractor = create_extractor(DIGITS)
    reference.check(extractor, (8, 8))
    return reference.summary(extractor, batch=100)


def same_gaussian(summary: FeatureSummary, given: dict[str, Any]) -> bool:
    return np.array_equal(summary.pool.mu, given["mu"]) and np.array_equal(summary.pool.sigma, given["sigma"])


def test_an_adm_reference_gives_its_statistics_and_the_features_of_its_images(tmp_path: Path) -> None:
    images = digit_images("held-out")[:50]
    spatial = {"mu_s": np.arange(7.0), "sigma_s": np.eye(7)}
    np.savez(tmp_path / "VIRTUAL.npz", arr_0=nhwc(images), **arrays(), **spatial)
    reference = read_reference(tmp_path / "VIRTUAL.npz")
    summary = opened(reference)
    assert same_gaussian(summary, arrays())
    assert summary.pool.n is None  # of the whole data set, of which the images are a part
    assert summary.spatial is not None
    assert summary.spatial.mu.tolist() == list(range(7))
    assert summary.features is not None
    assert torch.allclose(summary.features, digit_features("held-out")["pool"][:50])
    assert (reference.images_to_read, reference.size) == (50, (8, 8))
    assert reference.sha256 == digest(tmp_path / "VIRTUAL.npz")


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_images_are_a_reference(kind: str, tmp_path: Path) -> None:
    images = nhwc(digit_images("held-out")[:30])
    path = tmp_path / "ref.npz"
    if kind == "npz":
        np.savez(path, arr_0=images)
    else:
        path = write_folder(tmp_path / "ref", images)
    summary = opened(read_reference(path))
    expected = summary_of({name: rows[:30] for name, rows in digit_features("held-out").items()})
    assert summary.pool.n == 30
    assert torch.allclose(summary.pool.sigma, expected.pool.sigma)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_of_pytorch_fid_and_clean_fid_are_read(dtype: Any, tmp_path: Path) -> None:
    given = {name: array.astype(dtype) for name, array in arrays().items()}
    np.savez_compressed(tmp_path / "ref.npz", **given)
    summary = opened(read_reference(tmp_path / "ref.npz"))
    assert same_gaussian(summary, given)
    assert summary.pool.sigma.dtype == torch.float64
    assert summary.features is None


def test_features_of_clean_fid_are_read(tmp_path: Path) -> None:
    features = digit_features("held-out")["pool"]
    np.savez_compressed(tmp_path / "ref_kid.npz", feats=features.numpy())
    summary = opened(read_reference(tmp_path / "ref_kid.npz"))
    assert torch.equal(summary.features, features)  # type: ignore[arg-type]
    assert torch.allclose(summary.pool.mu, features.mean(dim=0))


def test_caches_that_torch_fidelity_wrote_are_read(tmp_path: Path) -> None:
    import torch_fidelity

    from dimbench.quality.fidelity import register

    torch_fidelity.calculate_metrics(
        input1=Images(digit_images("held-out")),
        input1_cache_name="digits",
        input2=Images(digit_images("held-out")),
        feature_extractor=register(),
        fid=True,
        kid=True,
        kid_subset_size=50,
        kid_subsets=1,
        save_cpu_ram=True,
        cuda=False,
        cache_root=str(tmp_path),
        verbose=False,
    )
    features = digit_features("held-out")["pool"]
    statistics = opened(read_reference(tmp_path / f"digits-{DIGITS}-stat-fid-pool.pt"))
    assert torch.allclose(statistics.pool.mu, features.mean(dim=0))
    assert torch.allclose(statistics.pool.sigma, torch.from_numpy(np.cov(features.numpy(), rowvar=False)))
    whole = opened(read_reference(tmp_path / f"digits-{DIGITS}-features-pool.pt"))
    assert torch.allclose(whole.features, features)  # type: ignore[arg-type]
    assert whole.pool.n == 503


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"mu": Trap(), "sigma": Trap()}, tmp_path / "ref.pt")
    with pytest.raises(DimbenchError, match=r"ref\.pt cannot be read as a torch-fidelity cache"):
        read_reference(tmp_path / "ref.pt")
    assert not (tmp_path / "sprung").exists()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    extractor = create_extractor(DIGITS)
    given = dataclasses.replace(summary_of(digit_features("held-out")), spatial=gaussian(7), pixels_sha256="ab")
    write_reference(given, extractor, (8, 8), tmp_path / "deep" / "ref.npz")
    reference = read_reference(tmp_path / "deep" / "ref.npz")
    summary = opened(reference)
    assert torch.equal(summary.pool.sigma, given.pool.sigma)
    assert torch.equal(summary.spatial.mu, gaussian(7).mu)  # type: ignore[union-attr]
    assert torch.equal(summary.features, given.features)  # type: ignore[arg-type]
    assert (reference.size, reference.extractor, reference.extractor_sha256) == ((8, 8), DIGITS, extractor.sha256)
    assert summary.pool.n == 503
    assert reference.images_to_read == 0
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ref.npz"]


def test_a_folder_is_known_by_its_pictures(tmp_path: Path) -> None:
    images = nhwc(digit_images("held-out")[:5])
    one = read_reference(write_folder(tmp_path / "one", images)).sha256
    assert one == read_reference(write_folder(tmp_path / "two", images)).sha256
    assert one != read_reference(write_folder(tmp_path / "three", images[::-1])).sha256


def test_what_a_reference_does_not_say_is_a_warning(tmp_path: Path) -> None:
    extractor = create_extractor(DIGITS)
    np.savez(tmp_path / "ref.npz", **arrays())
    assert read_reference(tmp_path / "ref.npz").check(extractor, (8, 8)) == [
        "The reference ref.npz does not say its resolution and its extractor."
    ]
    write_folder(tmp_path / "jpeg", nhwc(digit_images("held-out")[:5]), "jpg")
    (said,) = read_reference(tmp_path / "jpeg").check(extractor, (8, 8))
    assert said.startswith("The reference's images: 5 of 5 are stored with loss (JPEG or WebP)")


def test_references_of_other_images_or_extractors_are_refused(tmp_path: Path) -> None:
    extractor = create_extractor(DIGITS)
    images = write_folder(tmp_path / "images", np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(UsageError, match="images is of 16 x 16 pixels and the images of 8 x 8"):
        read_reference(images).check(extractor, (8, 8))
    np.savez(tmp_path / "inception.npz", **arrays(2048))
    with pytest.raises(UsageError, match="pool features of 2048 dimensions and digits-classifier of 64"):
        read_reference(tmp_path / "inception.npz").check(extractor, (8, 8))
    np.savez(tmp_path / "other.npz", **arrays(), extractor=DIGITS, extractor_sha256="0" * 64)
    with pytest.raises(UsageError, match="made by digits-classifier with other weights"):
        read_reference(tmp_path / "other.npz").check(extractor, (8, 8))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_a_file_cut_off_is_one_sentence(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"ref.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays())
    else:
        torch.save(arrays(), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DimbenchError, match=rf"ref\.{suffix} cannot be read .* cut off"):
        read_reference(path)


def test_damaged_numbers_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DimbenchError, match="cannot be read as an npz"):
        read_reference(path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mean": np.zeros(2)}, r"holds mean where statistics \(mu, sigma\)"),
        ({}, "holds nothing where statistics"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"mu of the shape \(2,\) and sigma of \(3, 3\)"),
        ({"mu": np.zeros(2)}, r"mu of the shape \(2,\) and sigma of \(0,\)"),
        ({"mu": np.array([0.0, np.nan]), "sigma": np.eye(2)}, "holds NaN or infinity"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.inf)}, "holds NaN or infinity"),
        ({"feats": np.zeros(9)}, r"features have the shape \(9,\)"),
        ({"arr_0": np.zeros((2, 8, 8))}, "where uint8 images"),
    ],
)
def test_files_of_another_kind_are_one_sentence(given: dict[str, np.ndarray], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", **given)
    with pytest.raises(DimbenchError, match=sentence):
        read_reference(tmp_path / "ref.npz")


def test_tensors_of_another_kind_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "ref.pt")
    with pytest.raises(UsageError, match="holds neither mu and sigma nor features"):
        read_reference(tmp_path / "ref.pt")


def test_places_without_a_reference_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no reference at"):
        read_reference(tmp_path / "nowhere.npz")
    with pytest.raises(UsageError, match="holds no pictures"):
        read_reference(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(UsageError, match="is no npz, torch-fidelity cache"):
        read_reference(tmp_path / "a.csv")


@pytest.mark.parametrize("dtype", [">f8", ">f4", np.longdouble, np.float16, np.int32])
def test_numbers_of_every_kind_are_taken(dtype: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", mu=np.arange(3).astype(dtype), sigma=np.eye(3).astype(dtype))
    pool = read_reference(tmp_path / "ref.npz").pool
    assert pool is not None
    assert (pool.mu.tolist(), pool.sigma.tolist()) == ([0.0, 1.0, 2.0], np.eye(3).tolist())


TURNED = np.array([[1.0, 2.0], [2.0, 1.0]])  # variances 3 and -1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])}, "for it is not symmetric"),
        ({"mu": np.zeros(2), "sigma": TURNED}, "for it has negative variances"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "for it has negative variances"),
        ({"mu": np.zeros(2), "sigma": np.eye(2) * 1j}, "sigma of the reference .* is of complex128"),
        ({"mu": np.array(["a", "b"]), "sigma": np.eye(2)}, "mu of the reference .* is of <U1 where real numbers"),
        ({"mu": np.zeros(2, "M8[D]"), "sigma": np.eye(2)}, r"is of datetime64\[D\] where real numbers"),
        ({"feats": np.zeros((4, 3), bool)}, "feats of the reference .* is of bool"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": np.array("many")}, "n of the reference .* is no whole number"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": np.array(-3)}, "n of the reference .* is no whole number"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "size": np.array([8.0, 8.0])}, "size of the reference"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "size": np.array([8])}, "size of the reference"),
    ],
)  # fmt: skip
def test_what_is_no_gaussian_is_one_sentence(given: dict[str, np.ndarray], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", **given)
    with pytest.raises(UsageError, match=sentence):
        read_reference(tmp_path / "ref.npz")


def test_covariances_of_float32_are_within_their_rounding(tmp_path: Path) -> None:
    """Sums in float32, of fewer images than dimensions: their smallest eigenvalues come out below zero."""
    features = np.maximum(np.random.default_rng(0).normal(size=(200, 500)), 0).astype(np.float32)
    mu = features.mean(0)
    sigma = features.T @ features / np.float32(200) - np.outer(mu, mu)
    assert np.linalg.eigvalsh(sigma.astype(float))[0] < 0
    np.savez(tmp_path / "ref.npz", mu=mu, sigma=sigma)
    assert read_reference(tmp_path / "ref.npz").pool is not None


def test_archives_of_other_kinds_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    np.savez(path, **arrays(2))
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # encrypted, say the members and the list of them
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 1)
    (tmp_path / "locked.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"locked\.npz is encrypted"):
        read_reference(tmp_path / "locked.npz")
    content = bytearray(path.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(signature)
        while at >= 0:
            content[at + method] = 98  # PPMd, which Python does not know
            at = content.find(signature, at + 1)
    (tmp_path / "exotic.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"exotic\.npz is compressed in a way that is not known"):
        read_reference(tmp_path / "exotic.npz")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UsageError, match=r"ref\.npz is a single array"):
        read_reference(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", "no array")
        archive.writestr("sigma.npy", "no array")
    with pytest.raises(DimbenchError, match=r"mu of the reference .* is of \|S8|cannot be read as an npz"):
        read_reference(path)


@pytest.mark.parametrize(
    "value",
    [[[1.0], [1.0, 2.0]], "text", torch.zeros(2, dtype=torch.bfloat16), torch.eye(2).to_sparse(), None, {"a": 1}],
    ids=["ragged", "text", "bfloat16", "sparse", "nothing", "dictionary"],
)
def test_caches_of_other_values_are_one_sentence(value: object, tmp_path: Path) -> None:
    torch.save({"mu": value, "sigma": torch.eye(2)}, tmp_path / "ref.pt")
    with pytest.raises(UsageError, match=r"mu"):
        read_reference(tmp_path / "ref.pt")


def test_a_folder_is_known_by_its_pictures_alone(tmp_path: Path) -> None:
    images = nhwc(digit_images("held-out")[:5])
    one = read_reference(write_folder(tmp_path / "one", images)).sha256
    write_folder(tmp_path / "one" / ".ipynb_checkpoints", images)
    (tmp_path / "one" / "labels.txt").write_text("no picture")
    os.mkfifo(tmp_path / "one" / "pipe")
    assert read_reference(tmp_path / "one").sha256 == one
