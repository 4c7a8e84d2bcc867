from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from dimbench.report import charts
from dimbench.report.findings import Point
from tests.report.pages import Page


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize(("ratios", "reach"), [([], 0.02), ([1.01, 0.97], 0.05), ([1.25], 0.3), ([4.0], 1.0)])
def test_an_axis_reaches_a_round_share(ratios: list[float], reach: float) -> None:
    assert charts.reach(ratios) == reach


def test_a_strip_puts_the_ratio_on_its_interval_before_the_margin() -> None:
    svg = drawn(charts.strip(1.1, (1.05, 1.15), 0.05, 0.2, "bad", "title"))
    (band,) = svg.iter("rect")
    assert (band.get("x"), band.get("width")) == ("52.5", "35")  # 0.95 to 1.05 of an axis 0.8 to 1.2, 140 wide
    lines = {line.get("class"): (line.get("x1"), line.get("x2")) for line in svg.iter("line")}
    assert lines == {"axis": ("70", "70"), "interval bad": ("87.5", "122.5"), "mark bad": ("105", "105")}


def test_a_strip_ends_where_its_axis_ends() -> None:
    svg = drawn(charts.strip(9.0, None, None, 0.2, "", "title"))
    assert [line.get("x1") for line in svg.iter("line")] == ["70", "140"]


def test_a_history_shows_every_run_within_its_plot() -> None:
    points = [
        Point("2026-11-01T00:00:00+00:00", 2.0, (1.9, 2.1), (1.8, 2.2), 20),
        Point("2026-11-02T00:00:00+00:00", 4.0),
        Point("2026-11-03T00:00:00+00:00", 3.0),
    ]
    svg = drawn(charts.history(points, lambda value: f"{value:g} s", {1: "torch 2.14 -> 2.15"}))
    heights = [float(dot.get("cy", "nan")) for dot in svg.iter("circle")]
    assert heights[0] > heights[2] > heights[1]  # y grows downwards
    assert all(10 <= height <= 148 for height in heights)
    assert len([line for line in svg.iter("line") if line.get("class") == "interval"]) == 1
    assert len(list(svg.iter("rect"))) == 1
    titles = [title.text or "" for title in svg.iter("title")]
    assert titles[0] == "torch 2.14 -> 2.15"
    assert titles[1] == (
        "2026-11-01T00:00:00+00:00: 2 s, middle half 1.8 s to 2.2 s of 20 samples, 95 % interval 1.9 s to 2.1 s"
    )
    labels = [text.text for text in svg.iter("text")]
    assert labels[-2:] == ["2026-11-01", "2026-11-03"]
    assert labels[:-2] == ["1 s", "2 s", "3 s", "4 s", "5 s"]


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e12])
def test_runs_that_are_all_equal_have_an_axis_too(value: float) -> None:
    svg = charts.history([Point("2026-11-01", value), Point("2026-11-02", value)], str, {})
    assert not re.search("nan|inf", svg)
    assert len(list(drawn(svg).iter("circle"))) == 2


def test_texts_are_escaped() -> None:
    markup = charts.history([Point("<b>", 1.0)], str, {0: '"<script>'})
    assert "<script" not in markup
    assert '"<script>' in Page(markup).texts["title"]
