"""A small convolutional classifier of the embedded digits, whose last features stand in for Inception's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.errors import DimbenchError
from dimbench.files import replacing

WEIGHTS = Path(digits.__file__).parent / "weights" / "digits-classifier.safetensors"
FEATURES = 64
STEPS = 1500
BATCH = 64
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.01  # without any, features grow and a few images rule the cubic kernel of KID


class DigitsClassifier(nn.Module):
    """uint8 images (N, C, 8, 8), grey or RGB -> features (N, 64) and logits (N, 10), in the dtype of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(48, FEATURES, 3, padding=1),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, digits.CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        grey = images.to(self.head.weight.dtype).mean(dim=1, keepdim=True)
        features = self.body(grey / 127.5 - 1).mean(dim=(2, 3))  # (N, 64)
        return features, self.head(features)


def train_classifier(
    seed: int = 0, steps: int = STEPS, on_step: Callable[[int, float], None] | None = None
) -> DigitsClassifier:
    """A classifier trained on the train split, float32, on the CPU; `on_step(step, loss)` is called after each step.

    The same seed gives the same bits on one machine. The global random state is left as it was.
    """
    with _one_thread():
        return _train(seed, steps, on_step)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are split among threads, so that their number would change the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(seed: int, steps: int, on_step: Callable[[int, float], None] | None) -> DigitsClassifier:
    images, labels = digits.load("train")
    pixels = to_uint8(images)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: math.cos(math.pi / 2 * k / steps) ** 2)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(pixels), (BATCH,), generator=generator)
        _, logits = model(_shifted(pixels[chosen], generator))
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    return model.eval()


def _shifted(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by -1, 0 or 1 pixel along each axis, zeros moving in: the data are few."""
    n, _, height, width = pixels.shape
    down, right = torch.randint(3, (2, n, 1), generator=generator)
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    return F.pad(pixels, (1, 1, 1, 1))[torch.arange(n)[:, None, None, None], 0, rows, columns]


def accuracy(model: DigitsClassifier, split: digits.Split = "held-out") -> float:
    """The share of images of `split` that the classifier names rightly."""
    images, labels = digits.load(split)
    with torch.no_grad():
        _, logits = model(to_uint8(images))
    return (logits.argmax(dim=1) == labels).double().mean().item()


def save_classifier(model: DigitsClassifier, path: Path = WEIGHTS) -> None:
    """Write the weights to `path` as safetensors."""
    with replacing(path) as temporary:
        temporary.write_bytes(save(model.state_dict()))


def load_classifier(path: Path = WEIGHTS) -> DigitsClassifier:
    """The classifier with the weights of `path` in float64, so that features agree on all machines to 1e-12 or so.

    Raises DimbenchError where the file is missing, is damaged or holds other tensors.
    """
    model = DigitsClassifier()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DimbenchError(f"The digits classifier's weights {path} cannot be read ({error}): {_REMEDY}") from error
    if {name: tuple(tensor.shape) for name, tensor in state.items()} != expected:
        raise DimbenchError(f"{path} holds other tensors than the digits classifier's {len(expected)}: {_REMEDY}")
    model.load_state_dict(state)
    return model.double().eval().requires_grad_(False)


_REMEDY = "train them again with `dimbench train digits-classifier`."
