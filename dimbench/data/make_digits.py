"""Write digits.npz again from scikit-learn's copy: python -m dimbench.data.make_digits (needs scikit-learn)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dimbench.data.digits import FILE
from dimbench.files import replacing


def make_digits(path: Path = FILE) -> None:
    """Store scikit-learn's digits at `path`: images uint8 (1797, 8, 8) with values 0..16, labels int64 (1797,)."""
    from sklearn.datasets import load_digits

    source = load_digits()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=source.images.astype(np.uint8), labels=source.target.astype(np.int64))


if __name__ == "__main__":
    make_digits()
