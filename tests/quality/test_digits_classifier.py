from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.errors import DimbenchError
from dimbench.quality.digits_classifier import (
    DigitsClassifier,
    accuracy,
    load_classifier,
    save_classifier,
    train_classifier,
)

RIGHT_OF_HELD_OUT = 499, 503  # as dimbench/data/README.md says
BATCH_TOLERANCE = 1e-12  # float64 sums in another order


def bits(model: torch.nn.Module) -> bytes:
    return b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values())


def test_shipped_weights_reach_the_stated_accuracy() -> None:
    right, total = RIGHT_OF_HELD_OUT
    assert accuracy(load_classifier()) == right / total > 0.98


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_training_repeats_bit_for_bit_and_leaves_no_trace() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train_classifier(seed=3, steps=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2
    torch.manual_seed(2)
    torch.set_num_threads(1)
    assert bits(train_classifier(seed=3, steps=4)) == bits(first)
    assert bits(train_classifier(seed=4, steps=4)) != bits(first)


def test_training_learns_and_reports_each_step() -> None:
    seen: list[tuple[int, float]] = []
    model = train_classifier(steps=120, on_step=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == list(range(1, 121))
    assert seen[0][1] == pytest.approx(2.3, abs=0.1)  # log(10): nothing learnt yet
    assert accuracy(model, "train") > 0.7


def test_features_do_not_depend_on_the_batch() -> None:
    model = load_classifier()
    images = to_uint8(digits.load("held-out")[0])[:64]
    features, logits = model(images)
    assert (features.shape, logits.shape, features.dtype) == ((64, 64), (64, 10), torch.float64)
    alone = torch.cat([model(image)[0] for image in images.split(1)])
    assert torch.allclose(alone, features, rtol=BATCH_TOLERANCE, atol=BATCH_TOLERANCE)


def test_weights_survive_a_file(tmp_path: Path) -> None:
    model = DigitsClassifier()
    save_classifier(model, tmp_path / "weights.safetensors")
    assert bits(load_classifier(tmp_path / "weights.safetensors").float()) == bits(model)


def test_other_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(DigitsClassifier().state_dict() | {"head.bias": torch.zeros(11)}, path)
    with pytest.raises(DimbenchError, match="other tensors than the digits classifier's 8: train"):
        load_classifier(path)


@pytest.mark.parametrize("content", [None, b"", b"\x10\x00\x00"])
def test_unreadable_weights_are_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DimbenchError, match=r"weights.safetensors cannot be read .*dimbench train digits-classifier"):
        load_classifier(path)
