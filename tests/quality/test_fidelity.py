from __future__ import annotations

import subprocess
import sys

import pytest
from torch import Tensor
from torch.utils.data import Dataset

from dimbench.quality.evaluate import evaluate
from dimbench.quality.fidelity import register
from dimbench.quality.kid import kernel_distance
from dimbench.quality.summary import summary_of
from tests.quality.sets import digit_features, digit_images

EXACT = 1e-9  # the same sums in float64, over other batches; FID by another decomposition


class Images(Dataset):  # type: ignore[type-arg]
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_torch_fidelity_gives_the_same_metrics_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    import torch_fidelity

    theirs = torch_fidelity.calculate_metrics(
        input1=Images(digit_images("train")),
        input2=Images(digit_images("held-out")),
        feature_extractor=register(),
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=250,
        samples_shuffle=False,
        save_cpu_ram=True,  # no worker processes
        cuda=False,
        cache=False,
        verbose=False,
    )
    train, held_out = digit_features("train"), digit_features("held-out")
    ours = evaluate(summary_of(train), summary_of(held_out)).metrics
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=EXACT)
    assert ours["is_mean"] == pytest.approx(theirs["inception_score_mean"], rel=EXACT)
    assert ours["is_std"] == pytest.approx(theirs["inception_score_std"], rel=EXACT)
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-6)  # theirs are means in float32
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-6)
    kid_mean, kid_std = kernel_distance(train["pool"], held_out["pool"], subset_size=250)
    assert kid_mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=EXACT)
    assert kid_std == pytest.approx(theirs["kernel_inception_distance_std"], rel=EXACT)
    assert capfd.readouterr() == ("", "")


def test_registering_twice_is_harmless() -> None:
    assert register() == register() == "digits-classifier"


def test_torch_fidelity_is_loaded_only_when_used() -> None:
    code = "import sys, dimbench.quality.evaluate, dimbench.quality.fidelity; print('torch_fidelity' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
