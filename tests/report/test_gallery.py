"""Which models a plot shows, and what it says of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimbench import presets
from dimbench.counting import kept
from dimbench.errors import DimbenchError
from dimbench.report import gallery
from dimbench.report.gallery import left_out
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
    assert "--cost image is a choice of gflops-fid" in refused(2, "plot", "pareto", "--cost", "image", "--out", file)


def test_one_pass_of_imf_costs_less_than_those_of_jit() -> None:
    points, left = gallery._by_image(gallery.Asked(presets.match(["imf-b2", "jit-b16"]), 256, None, of_image=True))
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
    curves = {name: gallery._at_sides(name) for name in ("udit-l", "zigma-b1")}
    (crossing,) = gallery.crossings("udit-l", "zigma-b1", curves)
    below, above = (
        kept.sums("zigma-b1", side).macs("macs") < kept.sums("udit-l", side).macs("macs")
        for side in (int(crossing.at) // 64 * 64, int(crossing.at) // 64 * 64 + 64)
    )
    assert f"ZigMa-B/1 below U-DiT-L from {crossing.at:,.0f} px" in words
    assert (below, above) == (False, True), "counted on either side"
