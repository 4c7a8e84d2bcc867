from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dimbench import results
from dimbench.kernels import backends, native
from dimbench.paths import records_file
from dimbench.report.kernel_times import timings
from dimbench.results import Record
from tests.console import dimbench, refused

SMALL = ("-L", 16, "-E", 8, "-N", 2, "--rounds", 2)


def test_every_backend_is_listed_with_its_reason() -> None:
    listed = json.loads(dimbench("kernels", "--json").stdout)
    names = {(name, backend) for name, operator in backends.operators().items() for backend in operator.names}
    assert {(row["operator"], row["backend"]) for row in listed} == names
    assert all((row["here"] == "cannot") == bool(row["why_not"]) for row in listed)
    runs = [row["operator"] for row in listed if row["here"] == "runs"]
    assert runs == list(backends.operators())
    shown = dimbench("kernels").stdout
    assert "it runs on cuda and a tensor lies on cpu" in shown
    assert not records_file().exists()


def test_the_list_is_for_the_size_and_type_asked_for() -> None:
    listed = json.loads(dimbench("kernels", "selective_scan", "-N", 300, "--json").stdout)
    assert {row["backend"]: row["here"] for row in listed}["cpu"] == "cannot"
    assert [row["here"] for row in listed if row["backend"] == "reference"] == ["runs"]


def test_a_bench_times_every_backend_that_can_run() -> None:
    ran = dimbench("kernels", "--bench", *SMALL, "-L", 64, "--json")
    assert ran.code == 0, ran.stderr
    records = json.loads(ran.stdout)
    assert len(records) == len(results.read(records_file()))
    timed = {(r["model"], r["conditions"]["length"], r["conditions"]["kernel"]) for r in records}
    for length in (16, 64):
        for name in ("cpu", "reference", "torch.copy"):
            assert {(operator, length, name) for operator in backends.operators()} <= timed
        assert ("selective_scan", length, "torch.exp") in timed
    for record in records:
        samples = record["samples"]["seconds"]
        assert len(samples) == 2
        assert record["metrics"]["seconds"] == pytest.approx(sum(samples) / 2)
        tokens = record["conditions"]["length"]
        assert record["metrics"]["seconds_per_token"] == pytest.approx(sum(samples) / 2 / tokens)
        assert (record["metrics"]["ratio"] == 1) == (record["conditions"]["kernel"] == record["conditions"]["base"])


@pytest.mark.parametrize("options", [("--backward",), ("--backward", "--dtype", "bf16", "--batch", 3)])
def test_gradients_can_be_timed(options: tuple[object, ...]) -> None:
    records = json.loads(dimbench("kernels", "--bench", *SMALL, *options, "--json").stdout)
    assert {r["conditions"]["pass"] for r in records} == {"backward"}
    assert {"cpu", "reference"} <= {r["conditions"]["kernel"] for r in records}


def test_the_backends_to_time_can_be_chosen() -> None:
    ran = dimbench("kernels", "causal_conv", "--bench", "--backend", "reference", *SMALL, "--json")
    assert [r["conditions"]["kernel"] for r in json.loads(ran.stdout)] == ["reference", "torch.copy"]


def test_the_table_compares_with_the_first() -> None:
    def record(kernel: str, seconds: float, ratio: float) -> Record:
        here = {"kernel": kernel, "base": "cpu", "pass": "forward", "dtype": "fp32", "rounds": 9, "batch": 2}
        here |= {"length": 256, "channels": 1024, "states": 16, "device": "cpu", "device_name": None, "threads": 2}
        metrics = {"seconds": seconds, "seconds_low": seconds, "seconds_high": 2 * seconds}
        metrics |= {"ratio": ratio, "ratio_low": 29.5, "ratio_high": 31, "seconds_per_token": seconds / 512}
        return Record("kernels", "selective_scan", here, metrics)

    table = timings([record("cpu", 0.004, 1), record("torch.exp", 0.12, 30)])
    assert table.rows[0][:6] == ("selective_scan", "256", "cpu", "4.000 ms", "4.000 ms to 8.000 ms", "1")
    assert table.grouped()[1][:6] == ["", "", "torch.exp", "120.0 ms", "120.0 ms to 240.0 ms", "30"]
    assert table.rows[1][6:] == ("29.5 to 31", "234.4 µs")
    assert "Forward pass, batch 2" in table.notes[0]
    assert any("B x L x E x N" in note for note in table.notes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scan",), "there is no operator 'scan'; known are causal_conv, haar, selective_scan"),
        (("--backward",), "--backward was given without --bench"),
        (("--backend", "cpu"), "--backend was given without --bench"),
        (("haar", "--bench", "-L", 100), "haar takes no length 100"),
        (("haar", "--bench", "--backend", "cuda"), "haar has no backend 'cuda'; known are cpu, reference"),
        (("selective_scan", "--bench", "--backend", "cpu", "-N", 300), "it takes up to 256 states, not 300"),
        (("selective_scan", "--bench", "--backend", "mamba-ssm"), "cannot run selective_scan here: it runs on cuda"),
        (("--bench", "--device", "nowhere"), "torch cannot use the device 'nowhere'"),
        (("--json", "--csv"), "--json and --csv were both given"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[object, ...], said: str) -> None:
    assert said in refused(2, "kernels", *words)


@pytest.mark.parametrize("command", [("sample", "dimsum-digits"), ("fid", "--model", "dimsum-digits")])
def test_a_kernel_is_forced_and_recorded(command: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / ("sheet.png" if command[0] == "sample" else "records.jsonl")
    few = ("--num-images", 2, "--steps", 2, "--out", out, "--json")
    ran = dimbench(*command, *few, "--kernel", "reference")
    assert ran.code == 0, ran.stderr
    (record,) = json.loads(ran.stdout)
    assert set(record["conditions"]["kernels"].values()) == {"reference"}
    with backends.watch() as used:
        example = backends.operators()["causal_conv"].example(backends.Size(length=4, channels=4))
        example.run(*example.inputs)
    assert used == {"causal_conv": "cpu"}, "the choice returns when the command ends"


def test_training_records_the_kernel(tmp_path: Path) -> None:
    few = ("--steps", 1, "--batch", 2, "--out", tmp_path / "weights.safetensors", "--json")
    ran = dimbench("train", "dimsum-digits", *few, "--kernel", "reference")
    (record,) = json.loads(ran.stdout)
    assert set(record["conditions"]["kernels"].values()) == {"reference"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton runs where there is a GPU")
def test_a_kernel_that_cannot_run_is_refused_before_any_work() -> None:
    for command in (("sample", "dit-digits"), ("fid", "--model", "dit-digits"), ("train", "dit-digits")):
        assert "kernel triton cannot run causal_conv here: it runs on cuda" in refused(
            2, *command, "--kernel", "triton"
        )
        assert "there is no kernel 'fast'; known are cpu, mamba-ssm" in refused(2, *command, "--kernel", "fast")


def test_a_forced_kernel_that_does_not_compile_shows_the_compilers_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_done", {})
    monkeypatch.setenv("CXX", "no-such-compiler")
    said = refused(2, "sample", "dimsum-digits", "--kernel", "cpu")
    assert "kernel cpu cannot run" in said
    assert "looked for no-such-compiler" in said
