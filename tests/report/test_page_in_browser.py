"""The page of a report as a browser runs it: it sorts, filters, answers the pointer, prints, and fits a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from dimbench.report import dashboard
from dimbench.report.findings import gather
from tests.report.records import bench, every_outcome

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")

ACTS = """
<script>
const parts = [...document.querySelectorAll("section")];
const choose = parts.find((part) => part.textContent.trim().startsWith("Choose"));
const table = choose.querySelector("table");
const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const models = () => shown().map((row) => row.cells[0].textContent.trim());
const heading = (name) => [...table.tHead.rows[0].cells].find((cell) => cell.textContent.trim() === name);
const found = { first: models() };
heading("time").querySelector("button").click();
found.sorted = models();
heading("time").querySelector("button").click();
found.reversed = models();
const field = choose.querySelector(".filter");
field.value = "UDIT";
field.dispatchEvent(new Event("input"));
found.filtered = models();
const spot = document.querySelector(".plot .spot");
spot.dispatchEvent(new PointerEvent("pointerenter"));
found.tip = document.querySelector(".tip").hidden ? "" : document.querySelector(".tip").textContent;
spot.dispatchEvent(new PointerEvent("pointerleave"));
found.gone = document.querySelector(".tip").hidden;
found.wider = document.documentElement.scrollWidth - innerWidth;
found.bars = [...document.querySelectorAll("svg.strip")].filter((bar) => bar.getBoundingClientRect().width).length;
document.body.dataset.found = JSON.stringify(found);
</script>
"""


def page(*records: dict) -> str:
    return dashboard.render(gather(records))


def timed() -> list[dict]:
    seconds = {"dit-xl2": 0.04, "udit-l": 0.03, "udit-s": 0.01, "dit-s2": 0.02}
    return [
        bench(model, each * (side / 256) ** 2, resolution=side)
        for model, each in seconds.items()
        for side in (256, 512)
    ]


def browser(*options: str) -> str:
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def acted(folder: Path, width: int, *records: dict) -> dict:
    (folder / "inside.html").write_text(page(*records).replace("</body>", f"{ACTS}</body>"), encoding="utf-8")
    browser_text = browser(
        "--dump-dom", f"--window-size={width},900", "--virtual-time-budget=3000", f"file://{folder}/inside.html"
    )
    return json.loads(unescape(re.search(r'data-found="([^"]*)"', browser_text)[1]))


def test_it_sorts_filters_and_answers_the_pointer(tmp_path: Path) -> None:
    found = acted(tmp_path, 1200, *timed(), *every_outcome())
    assert found["first"] == ["dit-xl2", "udit-l", "udit-s", "dit-s2"]
    assert found["sorted"] == ["udit-s", "dit-s2", "udit-l", "dit-xl2"]
    assert found["reversed"] == found["sorted"][::-1]
    assert found["filtered"] == ["udit-l", "udit-s"]
    assert re.match(r"DiT-XL/2, 256 px: 40.00 ms", found["tip"])
    assert found["gone"]
    assert found["wider"] <= 0
    assert found["bars"] == 5


def test_a_narrow_screen_drops_the_bars_and_scrolls_no_page(tmp_path: Path) -> None:
    found = acted(tmp_path, 500, *timed(), *every_outcome())
    assert found["wider"] <= 0
    assert found["bars"] == 0


def test_it_prints(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page(*timed()), encoding="utf-8")
    browser(f"--print-to-pdf={tmp_path}/page.pdf", f"file://{tmp_path}/page.html")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
