from __future__ import annotations

import json
import math
import random

from dimbench.report import dashboard
from dimbench.report.findings import gather
from tests.report.pages import Page
from tests.report.records import MACHINE, bench, compare, every_outcome, exact

LIMIT = 2_000_000  # bytes of a page
SCRIPT = "</script><script>alert(1)</script>"


def render(*records: dict) -> str:
    return dashboard.render(gather(records))


def test_the_sections_of_a_page() -> None:
    changed = {**MACHINE, "torch": "2.16.0", "commit": "cccc"}
    page = Page(render(*every_outcome(), bench(), bench(run=1, environment=changed), bench(seconds=None, batch=64)))
    assert page.texts["h2"] == [
        "Compared", "Measured by bench", "History", "Environment: 1 of 5 entries differ", "Warnings (1)",
    ]  # fmt: skip
    assert page.texts["summary"] == ["Exact metrics unchanged (1)"]
    assert page.values("class").count("strip") == 5  # where there is a ratio with an interval
    assert page.values("class").count("history") == 1
    assert page.values("class").count("differs") == 2
    assert "torch 2.15.0 \u2192 2.16.0" in page.texts["p"]
    assert page.texts["p"][0].startswith("2 regressions confirmed")
    assert "lead bad" in page.values("class")


def test_one_run_is_no_history_and_equal_environments_are_folded() -> None:
    page = Page(render(bench(), bench("udit-l")))
    assert page.texts["h2"] == ["Choose", "Plots", "Measured by bench"]
    assert page.texts["summary"] == ["Environment: 0 of 5 entries differ"]


def test_a_history_without_any_figure_is_left_out() -> None:
    assert "History" not in Page(render(bench(seconds=None), bench(seconds=None, run=1))).texts["h2"]


def test_rows_without_any_change_to_draw() -> None:
    page = Page(render(compare("changed", None, base=0.1, new=None, margin=None, confirmed=True)))
    assert page.texts["td"][:3] == ["dit-xl2", "time", "no longer measured"]
    assert "strip" not in page.values("class")
    assert page.tags.count("script") == 1  # nothing was measured, so there are no data to save


def test_figures_that_are_no_numbers_do_not_break_the_data() -> None:
    record = {**bench(), "metrics": {"seconds": math.nan}, "samples": {}, "environment": {}}
    page = Page(render(record))
    assert json.loads(page.texts["script"][0])[0]["metrics"] == {"seconds": None}
    assert page.texts["h2"] == ["Measured by bench"]


def test_the_data_come_along() -> None:
    record = bench(run=1)
    (saved,) = json.loads(Page(render(bench(), record)).texts["script"][0])
    assert saved == {name: record[name] for name in ("command", "model", "conditions", "metrics", "created")}


def test_what_a_record_holds_is_escaped_everywhere() -> None:
    hostile = {"environment": {SCRIPT: SCRIPT}, "compile": SCRIPT}
    runs = [bench(SCRIPT, run=run, **hostile) for run in range(2)]
    failed = {**bench(SCRIPT, None, **hostile), "warnings": [SCRIPT], "command": SCRIPT}
    text = render(*runs, failed, compare(model=SCRIPT, reason=SCRIPT), exact("equal", 1, 1, SCRIPT, SCRIPT))
    page = Page(text)
    assert SCRIPT not in text
    assert page.tags.count("script") == 2
    assert page.references() == []
    assert any(SCRIPT in found for found in page.texts["h3"])


def test_a_page_stays_small_with_many_records() -> None:
    some = random.Random(0)
    runs = [
        bench(f"model-{model}", 0.04 * some.uniform(0.9, 1.1), run=run, batch=batch, samples=60)
        for model in range(10) for batch in (1, 8) for run in range(25)
    ]  # fmt: skip
    assert len(runs) == 500
    assert len(render(*runs).encode()) < LIMIT


def test_a_page_stays_small_with_far_more_records_than_it_shows() -> None:
    runs = [bench(f"model-{model}", run=run, samples=6) for model in range(500) for run in range(2)]
    rows = [compare(ratio=1 + k / 1e4, model=f"model-{k}") for k in range(500)]
    text = render(*runs, *rows)
    assert len(text.encode()) < LIMIT
    page = Page(text)
    assert f"The first {dashboard.MOST_ROWS} of 500 rows." in page.texts["p"]
    assert page.values("class").count("history") == dashboard.MOST_CHARTS
    assert page.values("class").count("strip") == dashboard.MOST_ROWS
