"""Which models a plot shows, and what it says of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dimbench import presets, results
from dimbench.counting import kept
from dimbench.errors import DimbenchError
from dimbench.report import gallery
from dimbench.report.gallery import left_out
from dimbench.results import Record
from tests.console import dimbench, refused

WHY = "a FID is published, but no checkpoint that has it"


def test_models_left_out_are_named_with_the_reason(tmp_path: Path) -> None:
    drawn = dimbench("plot", "pareto", "dit-xl2", "dit-s2", "dit-digits", "--out", tmp_path / "a.svg")
    assert drawn.code == 0, drawn.stderr
    said = f"DiT-S/2: {WHY}"
    other = "no FID at 256 pixels is published"
    assert said in drawn.stderr
    assert other in drawn.stderr
    assert "Left out: " in (tmp_path / "a.svg").read_text()


def test_a_plot_of_nothing_says_why(tmp_path: Path) -> None:
    said = refused(1, "plot", "pareto", "dit-s2", "--out", tmp_path / "a.svg")
    assert f"DiT-S/2: {WHY}" in said
    assert not (tmp_path / "a.svg").exists()


def test_reasons_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_out({"dit-xl2": "x", "dit-s2": "y", "dit-b2": "y"}, {"dit-xl2"}) == " Left out: DiT-B/2, DiT-S/2: y."
    assert capsys.readouterr().err == "left out: DiT-B/2, DiT-S/2: y\n"
    assert left_out({"dit-xl2": "x"}, {"dit-xl2"}) == ""
    with pytest.raises(DimbenchError, match="there is nothing to draw"):
        left_out({}, set())


def test_the_cost_of_an_image_is_one_of_gflops_fid(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    drawn = dimbench("plot", "gflops-fid", "imf-b2", "jit-b16", "fitv2-xl2", "--cost", "image", "--out", file)
    assert drawn.code == 0, drawn.stderr
    assert all(f">{label}<" in file.read_text() for label in ("iMF-B/2", "JiT-B/16", "attention:"))
    assert "FiTv2-XL/2: its sampler, dopri5, chooses its steps" in drawn.stderr
    assert "--cost image is no choice of pareto" in refused(2, "plot", "pareto", "--cost", "image", "--out", file)


def test_one_pass_of_imf_costs_less_than_those_of_jit() -> None:
    points, left = gallery._by_image(gallery.Asked(["imf-b2", "jit-b16"], 256, cost="image"))
    costs = {model: dot.x for model, dot in points}
    assert 0.3 < costs["imf-b2"] < 0.4, "one pass and the decoder"
    assert 4.9 < costs["jit-b16"] < 5.1, "Heun's 99 calls, of which the guided ones are two passes"
    assert set(left) == set(costs)


def test_costs_that_grow_apart_cross_where_both_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    drawn = dimbench("plot", "macs-resolution", "udit-l", "zigma-b1", "mmdit-digits", "--out", file)
    assert drawn.code == 0, drawn.stderr
    words = " ".join(file.read_text().split())
    assert words.index(">faster than tokens:<") < words.index(">U-DiT-L<") < words.index(">as tokens, or slower:<")
    assert "MMDiT digits: it draws no two of these sizes" in drawn.stderr
    curves = {name: gallery.Asked((), 256).at_sides(name) for name in ("udit-l", "zigma-b1")}
    (crossing,) = gallery.crossings("udit-l", "zigma-b1", curves)
    below, above = (
        kept.sums("zigma-b1", side).macs("macs") < kept.sums("udit-l", side).macs("macs")
        for side in (int(crossing.at) // 64 * 64, int(crossing.at) // 64 * 64 + 64)
    )
    assert f"ZigMa-B/1 below U-DiT-L from {crossing.at:,.0f} px" in words
    assert (below, above) == (False, True), "counted on either side"


OWN = """
from torch import nn

class MyNet(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, x, t):
        return self.body(x)
"""
PRESETS = """
backbone = "my_model.py:MyNet"
[sampling]
sampler = "ddpm"
steps = 50
cfg = 1.0
[variants.my-net]
recipes = [{ fid = "31.4", source = "our notes" }]
[variants.my-wide-net]
config = { width = 16 }
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network of one's own and presets of it, the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(OWN)
    (tmp_path / "dimbench.toml").write_text(PRESETS)
    presets.all_presets.cache_clear()
    yield tmp_path
    presets.all_presets.cache_clear()


def test_a_preset_of_ones_own_has_its_point_and_a_network_without_fid_is_named(own: Path) -> None:
    drawn = dimbench("plot", "gflops-fid", "my-net", "my-wide-net", "my_model.py:MyNet", "dit-b2", "--out", "a.svg")
    assert drawn.code == 0, drawn.stderr
    picture = (own / "a.svg").read_text()
    assert all(f">{label}<" in picture for label in ("my-net", "DiT", "B/2"))
    assert "my-wide-net: no FID at 256 pixels is published" in drawn.stderr
    assert "my_model.py:MyNet: no preset states a FID of it" in drawn.stderr
    assert "my-net: its FID stands in no table" in refused(1, "plot", "pareto", "my-net", "--out", "a.svg")


def test_a_network_of_ones_own_is_counted_beside_those_of_ours(own: Path) -> None:
    words = ("plot", "params-macs", "my_model.py:MyNet", "dit-b2", "--set", "width=12", "--out", "a.svg")
    assert "has no setting 'width'" in refused(2, *words)
    drawn = dimbench("plot", "params-macs", "my_model.py:MyNet,width=12", "dit-b2", "--out", "a.svg")
    assert drawn.code == 0, drawn.stderr
    assert ">MyNet,width=12<" in (own / "a.svg").read_text()
    drawn = dimbench("plot", "macs-operator", "torch.nn:Conv2d,in_channels=3,out_channels=8,kernel_size=3", "dit-b2",
                     "--input", "input=3x9x9", "--out", "a.svg")  # fmt: skip
    assert drawn.code == 0, drawn.stderr
    assert "name them, or leave" in refused(2, "plot", "params-macs", "--input", "input=3x9x9")


def test_records_of_a_network_of_ones_own_become_a_curve(own: Path) -> None:
    shared = {"device_name": "A CPU", "dtype": "fp32", "batch": 1}
    made = [
        Record("bench", model, {**shared, "resolution": side}, {"seconds": seconds * side})
        for model, seconds in (("my_model.py:MyNet", 0.1), ("dit-s2", 0.2))
        for side in (256, 512)
    ]
    results.append(made, Path("times.jsonl"))
    words = ("plot", "latency-resolution", "--records", "times.jsonl", "--out", "a.svg")
    drawn = dimbench(*words)
    assert drawn.code == 0, drawn.stderr
    assert all(f">{label}<" in (own / "a.svg").read_text() for label in ("my_model.py:MyNet", "DiT-S/2"))
    drawn = dimbench(*words, "my_model.py:MyNet", "my-net")
    assert drawn.code == 0, drawn.stderr
    assert ">DiT-S/2<" not in (own / "a.svg").read_text()
    assert "my-net: it has no records" in drawn.stderr


def test_methods_are_drawn_beside_their_plain_run(tmp_path: Path) -> None:
    file = tmp_path / "f.svg"
    drawn = dimbench("plot", "frontier", "sit-digits", "--cost", "seconds", "--against", "drift", "--out", file)
    assert drawn.code == 0, drawn.stderr
    assert all(
        f">{label}<" in file.read_text() for label in ("SiT digits, heun2 11, 1,000 images", "plain", "teacache")
    )
    assert "choice of frontier" in refused(2, "plot", "pareto", "--against", "drift", "--out", file)
    assert "no records of methods" in refused(1, "plot", "frontier", "dit-s2", "--out", file)
