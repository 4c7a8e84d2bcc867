from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from PIL import Image

from dimbench.report import plots
from dimbench.report.plots import Curve, Dot, Frame, Mark

FRAME = Frame("A title", "x (px)", "y (s)", "A caption.", log_x=True, log_y=True)
POINTS = [Dot(1, 2, "DiT", "S"), Dot(1.01, 2, "DiT", "B"), Dot(3, 1, "DiM", "H", hollow=True)]


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_formats(tmp_path: Path, form: str, start: bytes) -> None:
    plots.scatter(POINTS, ["DiT", "DiM"], FRAME, tmp_path / "plot", form, front=POINTS[::2])
    assert (tmp_path / "plot").read_bytes().startswith(start)


def texts(file: Path) -> str:
    """The words of an SVG, which are kept as text."""
    return file.read_text()


def test_labels_legend_and_caption_are_there(tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    plots.scatter(POINTS, ["SiT", "DiT", "DiM"], FRAME, file, "svg")
    words = texts(file)
    for word in ("A title", "x (px)", "y (s)", "A caption.", ">DiT<", ">DiM<", ">H<"):
        assert word in words, word
    assert ">SiT<" not in words


def test_lines_mark_their_crossings(tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    marks = [Mark(256, 1), Mark(512, 4)]
    plots.lines([Curve("DiT-XL/2", marks, [(300, 2, "300 px")])], FRAME, file, "svg", {256: "256", 512: "512"})
    assert "300 px" in texts(file)
    assert ">512<" in texts(file)


def test_a_narrow_logarithmic_axis_has_numbers(tmp_path: Path) -> None:
    for highest, shown in ((0.182, True), (18, False)):
        plots.lines([Curve("a", [Mark(1, 0.104), Mark(2, highest)])], FRAME, tmp_path / "plot.svg", "svg", {})
        assert (">0.14<" in texts(tmp_path / "plot.svg")) == shown


def test_intervals_are_drawn_and_doubtful_points_are_hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(Axes, "vlines", lambda axes, x, low, high, **_: drawn.append((x, low, high)))
    plot = Axes.plot
    fills = []

    def watched(axes: Axes, *given: object, **how: object) -> object:
        fills.append(how.get("markerfacecolor"))
        return plot(axes, *given, **how)

    monkeypatch.setattr(Axes, "plot", watched)
    plots.lines([Curve("a", [Mark(1, 2, 1.5, 2.5), Mark(2, 3, hollow=True)])], FRAME, tmp_path / "plot.svg", "svg", {})
    assert drawn == [(1, 1.5, 2.5)]
    assert fills[1] == plots.COLOURS[0]
    assert fills[2] == "white"


def test_parts_that_are_small_everywhere_become_one(tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    bars = {"DiT": {"linear": 90, "attention": 10, "haar": 0.1}, "DiM": {"linear": 50, "scan": 1}}
    plots.stacked(bars, Frame("Work", "GMACs", ""), file, "svg")
    words = texts(file)
    assert "Other: haar." in words
    assert ">attention<" in words
    assert ">100.1<" in words


def test_a_part_has_one_colour_in_every_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, str]] = []
    barh = Axes.barh

    def watched(axes: Axes, *given: object, **how: object) -> object:
        drawn.append((str(how["label"]), str(how["color"])))
        return barh(axes, *given, **how)

    monkeypatch.setattr(Axes, "barh", watched)
    for bars in ({"A": {"linear": 9, "attention": 1}}, {"B": {"linear": 1, "attention": 9}}, {"C": {"attention": 1}}):
        plots.stacked(bars, Frame("Work", "GMACs", ""), tmp_path / "plot.svg", "svg", ("linear", "attention"))
    assert set(drawn) == {("linear", plots.COLOURS[0]), ("attention", plots.COLOURS[1])}


def test_names_do_not_cover_each_other() -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    near = [Dot(1 + i / 200, 1, "DiT", "a long name") for i in range(6)]
    axes.plot([p.x for p in near], [p.y for p in near])
    axes.set(xlim=(0, 2), ylim=(0, 2))
    plots._label(figure, axes, near, ["#000000"] * len(near), [])
    boxes = [tuple(text.get_window_extent().extents) for text in axes.texts if text.get_text()]
    pyplot.close(figure)
    overlaps = [plots._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert max(overlaps) == 0


def test_a_picture_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    from matplotlib import pyplot

    with pytest.raises(ValueError, match="nope"):
        plots.scatter(POINTS, ["DiT", "DiM"], FRAME, tmp_path / "plot", "nope")
    assert not pyplot.get_fignums()


def test_the_picture_is_wide_enough_for_print(tmp_path: Path) -> None:
    plots.scatter(POINTS, ["DiT", "DiM"], FRAME, tmp_path / "plot.png", "png")
    assert Image.open(tmp_path / "plot.png").width == 1440  # 7.2 inches at 200 dots


def test_every_family_has_a_look_of_its_own() -> None:
    assert len({plots._look(index) for index in range(64)}) == 64


def test_the_legend_names_families_below_their_kind(tmp_path: Path) -> None:
    dots = [plots.Dot(1, 2, "DiM", "a", kind="scan"), plots.Dot(2, 1, "DiT", "b", kind="attention")]
    plots.scatter(dots, ["DiM", "DiT"], FRAME, tmp_path / "plot.svg", "svg")
    drawn = (tmp_path / "plot.svg").read_text()
    places = [drawn.index(f">{name}<") for name in ("attention:", "DiT", "scan:", "DiM")]
    assert places == sorted(places)
