"""FDr of records, by hand and as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dimbench import results
from dimbench.quality.fdr import PRINTED, averaged
from dimbench.results import Record
from tests.commands.test_fid import records
from tests.console import dimbench, refused
from tests.quality.test_images import pixels, write_folder
from tests.quality.test_representations import saved


def record(model: str, extractor: str, fd: float, metric: str = "fid", **other: Any) -> dict[str, Any]:
    under = {"extractor": extractor, "extractor_sha256": extractor, "reference_sha256": "r", "resolution": 256}
    return {
        "command": "fid", "model": model, "created": other.pop("created", "1"), "metrics": {metric: fd},
        "conditions": {**under, "num_images": 50, **other},
    }  # fmt: skip


def test_distances_are_in_units_of_real_images_and_averaged() -> None:
    drawn = [record("a", "one", 8.0), record("a", "two", 3.0, "fd_mae"), record("b", "one", 2.0)]
    real = [record("held", "one", 4.0), record("held", "two", 0.5, "fd_mae")]
    a, b = averaged([*drawn, *real], "held")
    assert [each.fdr for each in a.ratios] == [2, 6]
    assert (a.model, a.fdr, b.fdr) == ("a", 4, 0.5)
    assert a.missing == list(PRINTED)


def test_the_newest_figure_counts_and_the_mean_of_several_draws() -> None:
    older, newer = record("a", "one", 9.0), record("a", "one", 6.0, "fid_mean", created="2")
    (found,) = averaged([newer, older, record("held", "one", 2.0)], "held")
    assert found.fdr == 3


def test_without_real_images_the_papers_figures_stand_for_them() -> None:
    (found,) = averaged([record("a", name, 2 * fd) for name, fd in PRINTED.items()], None)
    assert found.fdr == pytest.approx(2)
    assert (len(found.ratios), found.missing) == (6, [])


def test_other_numbers_of_images_are_said() -> None:
    (found,) = averaged([record("a", "one", 8.0), record("held", "one", 4.0, num_images=40)], "held")
    assert found.warnings == ["one: 50 images beside 40 held back; FD depends on it."]


@pytest.mark.slow
def test_a_user_evaluates_in_two_spaces_and_averages(tmp_path: Path) -> None:
    sets = {"drawn": pixels(24, 16) // 2, "held": pixels(48, 16)[24:], "train": pixels(24, 16)}
    folder = {name: write_folder(tmp_path / name, images) for name, images in sets.items()}
    file = tmp_path / "records.jsonl"
    made = {}
    for name in ("fdr-mae-l", "fdr-convnextv2-b"):
        weights = saved(name, tmp_path / f"{name}.weights")
        for each in ("drawn", "held"):
            (made[each, name],) = records("fid", "--images", folder[each], "--reference", folder["train"],
                                          "--extractor", f"{name}:{weights}", "--out", file)  # fmt: skip
    fd = {key: next(iter(each["metrics"].values())) for key, each in made.items()}
    assert next(iter(made["drawn", "fdr-mae-l"]["metrics"])) == "fd_mae"
    (found,) = json.loads(dimbench("fdr", file, "--held-back", "held", "--json").stdout)
    expected = [fd["drawn", name] / fd["held", name] for name in ("fdr-convnextv2-b", "fdr-mae-l")]
    assert [each["fdr"] for each in found["ratios"]] == pytest.approx(expected)
    assert found["fdr"] == pytest.approx(sum(expected) / 2)
    shown = dimbench("fdr", file, "--held-back", "held").stdout
    assert "FDr over 2" in shown
    assert "not here: inception-v3-compat" in " ".join(shown.split())
    assert "of them there are drawn, held" in refused(1, "fdr", file, "--held-back", "hold")
    assert "only for ImageNet at 256" in refused(2, "fdr", file)


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"

    def written(*rows: dict[str, Any]) -> Path:
        file.unlink(missing_ok=True)
        results.append([Record("fid", row["model"], row["conditions"], row["metrics"]) for row in rows], file)
        return file

    alone = [record("a", "one", 8.0), record("held", "two", 4.0)]
    assert "held has no record by one" in refused(1, "fdr", written(*alone), "--held-back", "held")
    itself = [record("a", "one", 8.0), record("held", "one", 0.0)]
    assert "at no distance" in refused(1, "fdr", written(*itself), "--held-back", "held")
    assert "no record here is of evaluated images" in refused(1, "fdr", written(itself[1]), "--held-back", "held")
