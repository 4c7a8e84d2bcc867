"""Images that are no squares: what --resolution takes, and that counts, times and drawings are of that shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dimbench
from dimbench import image_size
from dimbench.backbone import find
from dimbench.errors import UsageError
from dimbench.results import read
from tests.console import dimbench as command
from tests.console import refused

SMALL = ("--set", "depth=1", "--set", "hidden_size=64", "--set", "num_heads=4", "--set", "adaln_lora_dim=8")


def test_a_side_or_height_and_width() -> None:
    assert [image_size.parse(text, 512) for text in ("256", "0256x256", "160x320")] == [256, "256x256", "160x320"]
    assert image_size.several("256,160x320,256", 512) == [256, "160x320"]
    assert (image_size.sides(256), image_size.sides("160x320")) == ((256, 256), (160, 320))


@pytest.mark.parametrize("text", ["", "0", "x", "256x", "513", "8x513", "160x320x3", "-8", "1e2", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not understood; give the side in pixels, from 1 to 512"):
        image_size.parse(text, 512)


def test_counts_are_of_that_shape_and_claims_of_squares_are_none_of_it() -> None:
    wide, tall, square = (dimbench.count("fitv2-xl2", resolution=size)[0] for size in ("160x320", "320x160", "256x512"))
    assert wide.metrics["macs"] == tall.metrics["macs"]
    assert (wide.conditions["resolution"], wide.conditions["width"]) == (160, 320)
    assert square.details["claims"] == []
    assert dimbench.count("fitv2-xl2", resolution=256)[0].details["claims"]
    assert find("sd3-medium", "512x1024").state == (16, 64, 128)


def test_a_square_is_one_of_what_has_a_shape_of_its_own_too(tmp_path: Path) -> None:
    def shape(name: str, size: str) -> tuple[int, ...]:
        ran = command("flops", name, "--resolution", size, "--json")
        assert ran.code == 0, ran.stderr
        return tuple(json.loads(ran.stdout)[0]["conditions"].get(side) for side in ("resolution", "width"))

    assert shape("wan2.1-1.3b,num_layers=1", "96") == (96, 160)
    assert shape("wan2.1-1.3b,num_layers=1", "96x96") == (96, None)
    assert shape("dit-s8", "128x128") == shape("dit-s8", "128") == (128, None)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nclass Net(nn.Conv2d):\n    def forward(self, x, t): return x"
    )
    mine = f"{tmp_path}/mine.py:Net,in_channels=3,out_channels=3,kernel_size=1"
    assert shape(mine, "16x16") == shape(mine, "16") == (16, None)


def test_it_is_counted_timed_and_drawn(tmp_path: Path) -> None:
    assert "160x320" in command("flops", "fitv2-xl2", "--resolution", "160x320").stdout
    assert "160x320" in command("params", "fitv2-xl2", "--resolution", "160x320").stdout
    timed = command("bench", "fitv2-xl2", *SMALL, "--resolution", "16x32,16", "--budget", "1", "--out", tmp_path / "b")
    assert timed.code == 0, timed.stderr
    assert " 16x32 " in timed.stdout
    assert [record["conditions"].get("width") for record in read(tmp_path / "b")] == [32, None]
    drawn = command(
        "sample", "fitv2-xl2", *SMALL, "--resolution", "16x32", "--random-weights", "--sampler", "euler", "--steps", 3,
        "--cfg", 2, "--num-images", 2, "--batch", 2, "--format", "latents", "--out", tmp_path / "drawn",
    )  # fmt: skip
    assert drawn.code == 0, drawn.stderr
    (array,) = np.load(tmp_path / "drawn" / "latents.npz").values()
    assert array.shape == (2, 4, 2, 4)


def test_families_of_squares_and_sides_that_do_not_fit_are_refused_in_a_sentence() -> None:
    assert "dit-s2, whose family draws squares alone; give one side" in refused(
        2, "flops", "dit-s2", "--resolution", "160x320"
    )
    assert "latents have one side per 8 pixels" in refused(2, "flops", "fitv2-xl2", "--resolution", "160x324")
    assert "a latent of 20 x 41 cannot be cut" in refused(2, "flops", "fitv2-xl2", "--resolution", "160x328")
