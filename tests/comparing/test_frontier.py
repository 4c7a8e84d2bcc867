"""Methods beside the plain run: what `frontier` draws, keeps, resumes and refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dimbench.comparing import frontier
from dimbench.comparing.drift import Drift
from dimbench.report import tradeoffs
from dimbench.results import Record
from dimbench.sampling.drawing import Drawing
from tests.console import dimbench, refused

SMALL = ["dit-digits", "--steps", 4, "--num-images", 16, "--batch", 8]


OWN = ["--steps", 4, "--num-images", 4, "--batch", 4, "--random-weights", "--resolution", 64]


def own_network(folder: Path, output: str) -> str:
    """A network of one layer which makes `output` of x."""
    (folder / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(8, 8)\n"
        "        self.blocks = nn.ModuleList([self.linear])\n\n"
        f"    def forward(self, x, t):\n        return {output}\n"
    )
    return f"{folder}/net.py:Net"


def rows(*words: object) -> list[dict[str, Any]]:
    ran = dimbench("frontier", *words, "--json")
    assert ran.code == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_row_has_cost_time_drift_and_quality_beside_the_plain_run(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    plain, fora, both = rows(*SMALL, "--with", "fora:every=2", "--with", "fora:every=2+tome:ratio=0.5", "--out", file)
    fid = dimbench("fid", "--model", *SMALL, "--out", tmp_path / "fid.jsonl", "--json")
    (record,) = json.loads(fid.stdout)
    assert plain["details"]["pixels_sha256"] == record["details"]["pixels_sha256"], "the images of fid"
    assert plain["details"]["protocol"] == record["details"]["protocol"] != fora["details"]["protocol"]
    assert plain["metrics"]["fid"] == record["metrics"]["fid"]
    assert plain["metrics"]["drift"] == plain["metrics"]["changed_labels"] == 0
    assert plain["metrics"]["psnr"] is None
    assert fora["conditions"]["methods"] == ["fora:every=2"]
    assert both["conditions"]["methods"] == ["tome:ratio=0.5", "fora:every=2"], "the inner one first"
    assert 0 < both["metrics"]["share_of_plain"] < fora["metrics"]["share_of_plain"] < 1
    assert fora["details"]["macs_by_operator"]["attention"]["of_plain"] == 0.5
    assert fora["metrics"]["drift"] > 0
    assert len(fora["samples"]["seconds"]) == 2
    assert fora["metrics"]["peak_bytes"] > 1e6


def test_what_is_stored_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f.jsonl"
    rows(*SMALL, "--with", "fora:every=2", "--out", file)
    drawn: list[Any] = []
    one_round = frontier._round
    monkeypatch.setattr(frontier, "_round", lambda lane, *rest: (drawn.append(lane), one_round(lane, *rest)))
    again = rows(*SMALL, "--with", "fora:every=2", "--out", file)
    assert len(again) == 2
    assert not drawn
    assert len(rows(*SMALL, "--with", "fora:every=3", "--out", file)) == 2
    assert len(drawn) == 4, "a new row has a plain run of its own to stand beside"
    assert len(file.read_text().splitlines()) == 3
    monkeypatch.setattr(Drawing, "code", {"code": "edited"})
    assert len(rows(*SMALL, "--with", "fora:every=2", "--out", file)) == 2
    assert len(drawn) > 4, "a network whose file was edited is another one"


def test_an_interrupted_round_is_drawn_anew_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path / "cache"))
    words = [*SMALL, "--with", "fora:every=2", "--out", tmp_path / "f.jsonl"]
    one_round, drawn = frontier._round, list[int]()

    def round_of(lane: Any, turn: int, device: Any) -> None:
        if len(drawn) == 3:
            drawn.append(-1)
            raise KeyboardInterrupt
        drawn.append(turn)
        one_round(lane, turn, device)

    monkeypatch.setattr(frontier, "_round", round_of)
    ran = dimbench("frontier", *words)
    assert ran.code != 0
    assert "goes on from there" in ran.stderr
    assert len(rows(*words)) == 2
    assert drawn == [0, 0, 1, -1, 1, 1]
    assert not list((tmp_path / "cache" / "frontier").iterdir())


@pytest.mark.slow
def test_what_cannot_wrap_the_network_is_left_out_unless_it_was_asked_for(tmp_path: Path) -> None:
    words = ["--steps", 4, "--num-images", 8, "--batch", 8, "--cfg", 1.5, "--out", tmp_path / "f.jsonl"]
    ran = dimbench("frontier", "udit-digits", *words)
    assert ran.code == 0, ran.stderr
    assert "left out: first-block cannot wrap" in ran.stderr
    assert re.search("not tried, as they need settings of yours by --with: .*autoguidance.*classifier", ran.stderr)
    for name in ("deep:every=2,level=1", "interval", "cfg-cache", "fake-w4a8"):
        assert name in ran.stdout
    assert "no long skips" in refused(2, "frontier", *SMALL, "--with", "deep", "--out", tmp_path / "f.jsonl")


def test_one_that_fails_costs_only_itself(tmp_path: Path) -> None:
    words = [*SMALL, "--with", "first-block:threshold=1e-9", "--with", "fora:every=2", "--out", tmp_path / "f.jsonl"]
    ran = dimbench("frontier", *words)
    assert ran.code == 1
    assert "did not take effect" in ran.stderr
    assert "fora:every=2" in ran.stdout
    assert "first-block" not in ran.stdout


def test_without_a_plain_run_there_is_no_row(tmp_path: Path) -> None:
    model, out = own_network(tmp_path, "self.linear(x.to(t.dtype))"), tmp_path / "f.jsonl"
    words = [*OWN, "--process", "gaussian", "--with", "fake-w8a8", "--out", out]
    assert "same dtype" in refused(1, "frontier", model, *words)
    assert not out.exists()


def test_a_dry_run_has_no_labels_of_images_that_are_no_digits(tmp_path: Path) -> None:
    model = own_network(tmp_path, "self.linear(x)")
    (_, row) = rows(model, *OWN, "--process", "flow", "--with", "fake-w8a8", "--out", tmp_path / "f.jsonl")
    assert row["metrics"]["drift"] > 0
    assert "changed_labels" not in row["metrics"]


def test_what_depends_on_values_is_counted_on_what_was_drawn(tmp_path: Path) -> None:
    (_, row) = rows(*SMALL, "--with", "first-block:threshold=0.9", "--out", tmp_path / "f.jsonl")
    assert row["details"]["counted_on"] == 8
    assert 0.1 < row["metrics"]["share_of_plain"] < 1


def test_a_guide_stands_beside_the_plain_run(tmp_path: Path) -> None:
    plain, guided = rows(
        *SMALL, "--cfg", 1.5, "--with", "autoguidance:guide=udit-digits", "--out", tmp_path / "f.jsonl"
    )
    assert len(tradeoffs.tables([Record(**plain), Record(**guided)])) == 3
    (panel,) = tradeoffs.panels([plain, guided], "run_macs", "drift")
    assert [point.group for point in panel.points] == ["plain", "autoguidance"]


def test_rounded_numbers_have_no_time(tmp_path: Path) -> None:
    ran = dimbench("frontier", *SMALL, "--with", "fake-w8a8", "--out", tmp_path / "f.jsonl", "--markdown")
    assert "| fake-w8a8 | 1.000 | nothing |" in ran.stdout


def test_drift_is_of_sums_over_all_images() -> None:
    drift = Drift()
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    drift.add((torch.ones(2, 4), images), (torch.ones(2, 4) * 2, images + 51))
    drift.add((torch.ones(2, 4), images), (torch.ones(2, 4), images))
    drift.add_labels(torch.tensor([1, 2, 3]), torch.tensor([1, 0, 3]))
    found = drift.metrics
    assert found["drift"] == pytest.approx(math.sqrt(8 / 16))
    assert found["psnr"] == pytest.approx(20 * math.log10(5) + 10 * math.log10(2))
    assert found["changed_labels"] == pytest.approx(1 / 3)


def test_a_panel_has_the_newest_of_each_row_and_its_plain_run() -> None:
    def record(methods: list[str], cost: float, model: str = "a") -> dict[str, Any]:
        conditions = {"steps": 5, **({"methods": methods} if methods else {})}
        return {"model": model, "conditions": conditions, "metrics": {"run_macs": cost, "fid": 1.0}}

    found = [record([], 9), record(["fora:every=3"], 5), record(["fora:every=3"], 4), record(["tome"], 3, "b")]
    (panel,) = tradeoffs.panels(found, "run_macs", "fid")
    assert [(point.group, point.label, point.x) for point in panel.points] == [("plain", "", 9), ("fora", "3", 4)]


@pytest.mark.slow
def test_shards_of_a_frontier_merge_into_the_whole(tmp_path: Path) -> None:
    wanted = [word for text in ("fora:every=2", "fora:every=3", "tome:ratio=0.5") for word in ("--with", text)]
    parts = [tmp_path / f"{part}.jsonl" for part in (1, 2)]
    shards = [rows(*SMALL, *wanted, "--shard", f"{part}/2", "--out", file) for part, file in enumerate(parts, start=1)]
    assert sorted(map(len, shards)) == [2, 2]
    assert "run --shard 2/2" in refused(1, "merge", parts[0])
    assert dimbench("merge", *parts, "--out", tmp_path / "all.jsonl").code == 0
    found = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert sorted(str(record["conditions"].get("methods", "")) for record in found) == [
        "", "['fora:every=2']", "['fora:every=3']", "['tome:ratio=0.5']",
    ]  # fmt: skip
