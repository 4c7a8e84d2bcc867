"""`dimbench choose` and `dimbench doctor`: which one, and what runs here."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dimbench import doctor, results
from dimbench.report import dashboard
from dimbench.report.findings import gather
from dimbench.results import Record
from tests.console import dimbench, refused
from tests.report.records import bench


@pytest.fixture
def records(tmp_path: Path) -> Path:
    file = tmp_path / "times.jsonl"
    results.append([Record(**bench(model, seconds)) for model, seconds in (("dit-s2", 0.01), ("udit-s", 0.02))], file)
    return file


def test_what_is_counted_timed_and_published_stands_in_a_row(records: Path) -> None:
    ran = dimbench("choose", "udit-s", "dit-s2", "--beside", "dit-xl2", "--records", records, "--json")
    assert ran.code == 0, ran.stderr
    found = {entry["model"]: entry for entry in json.loads(ran.stdout)}
    assert list(found) == ["dit-xl2", "udit-s", "dit-s2"]
    assert found["dit-xl2"]["macs"] == 118621421568
    assert (found["dit-xl2"]["seconds"], found["udit-s"]["seconds"]) == (None, 0.02)
    assert found["dit-xl2"]["fid"] == 2.27


def test_networks_of_ones_own_are_called_as_flops_calls_them(tmp_path: Path) -> None:
    none = tmp_path / "none.jsonl"
    none.touch()
    words = ("torchvision.models:vgg11", "dit-s2", "--input", "x=3x32x32", "--records", none, "--json")
    own, dit = json.loads(dimbench("choose", *words).stdout)
    (counted,) = json.loads(dimbench("flops", words[0], *words[2:4], "--json").stdout)
    assert own["macs"] == counted["metrics"]["macs"]
    assert dit["macs"] == 6055673856
    (other, _) = json.loads(dimbench("choose", *words, "--set", "num_classes=10").stdout)
    assert other["params"] < own["params"]


def test_columns_and_order_are_chosen(records: Path) -> None:
    ran = dimbench(
        "choose", "dit-s2", "udit-s", "--records", records, "--columns", "macs,fid", "--sort", "macs", "--csv"
    )
    header, first, second = csv.reader(ran.stdout.splitlines())
    assert header == ["model", "macs", "macs_ratio", "fid", "fid_of"]
    assert (first[:2], second[0]) == (["udit-s", "6020797440"], "dit-s2"), "numbers as they are"


def test_a_report_counts_what_it_sets_side_by_side_as_choose_does(records: Path) -> None:
    ran = dimbench("choose", "dit-s2", "udit-s", "--records", records, "--json")
    chosen = [(entry["model"], entry["params"], entry["macs"]) for entry in json.loads(ran.stdout)]
    assert chosen[1] == ("udit-s", 58896568, 6020797440), "as trained, not as timed with merged branches"
    found = dashboard._choices(gather(results.read(records)))
    assert found
    assert [(choice.model, choice.params, choice.macs) for choice in found.choices] == chosen


def test_a_benchmark_chooses_models_and_the_size_they_are_counted_at(records: Path) -> None:
    ran = dimbench("choose", "dit-*", "--for", "imagenet-512", "--records", records, "--json")
    found = {entry["model"]: entry for entry in json.loads(ran.stdout)}
    assert "dit-s2" not in found
    assert found["dit-xl2"]["px"] == 512


@pytest.mark.slow
def test_what_is_missing_is_measured(tmp_path: Path, records: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    words = ["choose", "dit-digits", "--records", records, "--measure", "--budget", "0.3", "--out", kept, "--json"]
    (first,) = json.loads(dimbench(*words).stdout)
    assert first["seconds"] > 0
    (again,) = json.loads(dimbench(*words, "--records", kept).stdout)
    assert again["seconds"] == first["seconds"]
    assert len(results.read(kept)) == 1


def test_what_cannot_be_chosen() -> None:
    assert "name the models" in refused(2, "choose")
    assert "unknown column of --sort 'speed'" in refused(2, "choose", "dit-s2", "--sort", "speed")
    assert "has a published FID on celeba-hq-256" in refused(2, "choose", "dit-s2", "--for", "celeba-hq-256")
    assert "unknown benchmark" in refused(2, "choose", "dit-s2", "--for", "imagenet-257")


def test_unlike_sizes_are_said_and_a_column_is_shown_once() -> None:
    said = dimbench("choose", "policy-pusht", "dit-s2", "--columns", "macs,macs").stdout
    assert said.count("MACs x") == 1
    assert "At unlike sizes (policy-pusht 16, dit-s2 256)" in said


def test_the_doctor_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    ran = dimbench("doctor", "--json")
    assert ran.code == 0, ran.stderr
    found = {(each["part"], each["what"]): each for each in json.loads(ran.stdout)}
    assert sys.executable in found["software", "Python"]["says"]
    assert found["kernels of selective_scan", "reference"]["health"] == "good"
    assert found["files", "inception"]["fix"] == "dimbench weights fetch inception"
    assert found["folders", "cache"]["health"] in ("good", "mind")
    assert "dit-digits" in found["commands", "sample"]["says"]
    assert found["commands", "stats"]["fix"] == "dimbench weights fetch inception"
    assert found["commands", "fid-lottery"]["health"] == "mind"


def test_what_is_asked_for_decides_the_exit_code() -> None:
    assert dimbench("doctor", "--for", "fid:dit-digits", "--for", "bench:dit-s2").code == 0
    ran = dimbench("doctor", "--for", "fid:dit-xl2")
    assert ran.code == 1
    assert "dimbench weights fetch DiT-XL-2-256x256.pt" in ran.stdout
    assert dimbench("doctor", "--for", "fid:dit-xl2-256-cfg1.5").code == 1
    assert dimbench("doctor", "--for", "fid-lottery:dit-xl2").code == 1
    assert dimbench("doctor", "--for", "calibrate:dit-s2", "--for", "choose:dit-s2", "--for", "cost:dit-s2").code == 0
    assert "names no model" in refused(2, "doctor", "--for", "fid")
    assert "did you mean fid" in refused(2, "doctor", "--for", "fd:dit-xl2")


def test_a_driver_that_is_too_old_for_torch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_driver", lambda: "12.4")
    found = doctor._torch()
    assert found.health is doctor.Health.MISSING
    assert "the driver runs 12.4" in found.says
    assert "update the driver" in found.fix


def test_folders_that_cannot_be_written_to_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path))
    assert [each.health for each in doctor.places()] == [doctor.Health.MISSING] * 2


def test_recipes_are_found_by_how_they_begin() -> None:
    found = [entry["name"] for entry in json.loads(dimbench("recipes", "DiT-XL/2", "--json").stdout)]
    assert "dit-xl2-256-cfg1.5" in found
    assert all(name.startswith("dit-xl2") for name in found)
    assert "no recipe matches" in refused(2, "recipes", "xl2")


def test_what_else_uses_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from dimbench.bench import nvml

    busy = nvml.GpuState(None, None, None, None, None, ("power limit",), {4711: 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="H100", uuid="x"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (60_000_000_000, 80_000_000_000))
    monkeypatch.setattr(nvml, "find", lambda _: SimpleNamespace(state=lambda: busy))
    found = doctor._gpu(0)
    assert found.says == "H100, 60.00 GB of 80.00 GB free, used by processes 4711, slowed by power limit"
    assert (found.health, found.fix) == (doctor.Health.MIND, "wait until it is free before you measure")
    monkeypatch.setattr(nvml, "find", lambda _: None)
    assert doctor._gpu(0).health is doctor.Health.GOOD
