"""What a plan says of many ranks, on one machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dimbench.quality.spread import Spread
from dimbench.sampling.export import write_pngs
from tests.console import dimbench, refused

INCEPTION = {"pool": 2048, "spatial": 2023, "logits": 1008}
OF_50K = Spread(64, 50_000, 125, 3 * 256**2, INCEPTION, Path("cache"), True)


def test_each_rank_has_its_part() -> None:
    assert (OF_50K.batches, OF_50K.most) == (400, 7)
    assert OF_50K.feature_bytes == 50_000 * (4 * 5079 + 32)
    sums = 8 * (2048 * 2049 + 2023 * 2024)
    assert OF_50K.wire_bytes == (63 + 63) * sums, "a block's to the first rank, the whole to all others"
    apart = replace(OF_50K, common=False)
    assert apart.wire_bytes == OF_50K.wire_bytes + 63 * OF_50K.feature_bytes
    assert "each keeps its own images" in apart.rows()[0][1]
    assert "172.03 MB of images" in apart.rows()[1][1]
    assert "516.10 MB of images and 3.05 GB of features, each" in replace(apart, sets=3).rows()[1][1]
    assert "not known" in replace(OF_50K, widths={}).rows()[2][1]


def test_many_ranks_are_planned_for_without_them() -> None:
    small = ("fid", "dit-digits", "--steps", 2, "--num-images", 640, "--batch", 10)
    said = dimbench(*small, "--plan", "--ranks", 64).stdout
    assert "64, of whom each takes about 1 of 64 batches" in said
    assert "by 64 ranks as fast as this machine" in said
    assert "on the wire" in said
    assert "on the wire" not in dimbench(*small, "--plan").stdout
    assert "give --plan" in refused(2, *small, "--ranks", 64)


def test_so_are_those_that_only_draw_or_only_look(tmp_path: Path) -> None:
    drawn = ("sample", "dit-digits", "--steps", 2, "--num-images", 640, "--batch", 10, "--ranks", 64)
    said = dimbench(*drawn, "--plan", "--to", tmp_path / "run").stdout
    assert "64, of whom each takes about 1 of 64 batches" in said
    assert "give --to FOLDER" in refused(2, *drawn, "--plan", "--to", tmp_path / "sheet.png")
    assert "give --plan" in refused(2, *drawn)
    write_pngs(tmp_path / "seen", torch.zeros(12, 3, 8, 8, dtype=torch.uint8), range(12))
    seen = tmp_path / "seen"
    for words in (("stats", seen, "--to", tmp_path / "new.npz", "--batch", 2), ("fid", "--images", seen)):
        said = dimbench(*words, "--plan", "--ranks", 3).stdout
        assert "by 3 ranks as fast as this machine" in said
        assert "3, of whom each takes about" in said
        assert "on the wire" in said
        assert "on the wire" not in dimbench(*words, "--plan").stdout
