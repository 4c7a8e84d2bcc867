"""bench, device and sweep, as a user types them. The machine is shared: no test asserts a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dimbench import results
from dimbench.bench import ceilings, hardware, parent
from dimbench.bench.rows import Row
from dimbench.commands.options import Dtype
from dimbench.diffusers_networks import latent_space
from dimbench.results import Record
from dimbench.sampling import decoding
from dimbench.sampling.precision import DTYPES
from tests.commands import processes
from tests.console import dimbench, refused

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")


def test_the_commands_dtypes_are_those_of_measuring() -> None:
    assert [str(name) for name in Dtype] == list(DTYPES)


def test_bench_measures_each_row_in_a_child_and_stores_it() -> None:
    ran = dimbench("bench", "dit-digits", "--batch", "2", "--budget", "0.3", "--threads", "1", "--json")
    assert ran.code == 0, ran.stderr
    records = json.loads(ran.stdout)
    assert results.read(_file()) == records
    assert [record["conditions"]["batch"] for record in records] == [2]
    for record in records:
        assert record["conditions"] | {"mode": "inference", "dtype": "fp32", "threads": 1} == record["conditions"]
        metrics = record["metrics"]
        assert sorted(record["samples"]["seconds"])[0] == metrics["seconds_min"] <= metrics["seconds"]
        assert (metrics["macs"], metrics["params"]) == (11_314_176, 1_058_888)
        assert metrics["images_per_second"] > 0
        assert metrics["peak_bytes"] > metrics["weights_bytes"] > 0
        assert record["details"]["stopped"] in ("interval", "settled", "budget")


def _file() -> Path:
    from dimbench import paths

    return paths.records_file()


def test_what_does_not_fit_is_a_row_that_says_so() -> None:
    ran = dimbench("bench", "dit-digits", "--batch", 10**7, "--budget", 1)
    assert ran.code == 0, ran.stderr
    assert "not measured" in ran.stdout
    assert "GB are available" in ran.stdout
    (record,) = results.read(_file())
    assert record["metrics"]["seconds"] is None
    assert record["metrics"]["macs"] == 11_314_176


def test_a_kernel_that_cannot_run_is_one_sentence() -> None:
    said = refused(2, "bench", "dimsum-digits", "--kernel", "triton", "--budget", 1)
    assert "dimsum-digits 8 px batch 1 fp32: kernel triton cannot run" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "0"], "--batch '0'"),
        (["--batch", "-1"], "--batch '-1'"),
        (["--batch", "bset"], "or best"),
        (["--resolution", "0"], "--resolution '0'"),
        (["--resolution", "7"], "patches of 2"),
        (["--dtype", "fp8"], "fp8"),
        (["--dtype", "tf32"], "tf32 is a mode of NVIDIA GPUs"),
        (["--cuda-graph"], "--cuda-graph needs a GPU"),
        (["--kernel", "nix"], "no kernel 'nix'"),
        (["--device", "gpu"], "'gpu' is unknown"),
        (["--threads", "0"], "threads"),
        (["--budget", "0"], "budget of 0 seconds"),
        (["--mode", "train", "--steps", "3"], "--steps is for sampling"),
        (["--cfg"], "--cfg was given without --steps"),
        (["torchvision.models:vgg11", "--input", "x=3x32x32", "--mode", "train"], "nothing says what torchvision"),
        (["--json", "--csv"], "give one format"),
        (["sit-digits", "--weights", "x.pt"], "cannot fit 2 models"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(words: list[str], said: str) -> None:
    assert said in refused(2, "bench", "dit-digits", *words)
    assert not _file().exists() or not _file().read_text()


def test_fp16_on_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_float16", lambda: False)
    assert "does not compute in float16" in refused(2, "bench", "dit-digits", "--dtype", "fp16")


@no_gpu
def test_an_absent_gpu_is_refused_by_all() -> None:
    for words in (["bench", "dit-digits"], ["device"], ["sweep", "resolution"]):
        assert "torch sees no NVIDIA GPU here" in refused(2, *words, "--device", "cuda")


def test_decoding_is_part_of_a_run_and_of_its_work() -> None:
    words = ["bench", "dit-s8", "--resolution", "64", "--steps", "2", "--budget", "0.2", "--json"]
    plain, decoded = (json.loads(dimbench(*words, *more).stdout)[0] for more in ([], ["--decode"]))
    space = latent_space("sd-vae-ft-ema")
    assert decoded["metrics"]["decode_macs"] == decoding.macs((4, 8, 8), space)
    per_run = {
        r["conditions"]["decoded"]: r["metrics"]["macs_per_second"] / r["metrics"]["images_per_second"]
        for r in (plain, decoded)
    }
    assert per_run[True] == pytest.approx(per_run[False] + decoded["metrics"]["decode_macs"])
    assert decoded["metrics"]["decode_seconds"] > 0
    assert "decode_seconds" not in plain["metrics"]
    said = refused(2, "bench", "dit-digits", "--steps", "2", "--decode")
    assert "draws no latents, and there is nothing to decode; leave out --decode" in said


def test_an_interruption_keeps_finished_rows_and_leaves_no_child(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    words = ["bench", "dit-digits", "--batch", "1,2,3", "--budget", "0.3", "--out", str(file)]
    running = subprocess.Popen([sys.executable, "-m", "dimbench", *words], stderr=subprocess.PIPE, text=True)
    children: list[int] = []
    while not (file.exists() and file.read_text() and children):
        assert running.poll() is None
        children = _children(running.pid)
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted; 1 of 3 rows are stored" in said
    assert "Traceback" not in said
    assert len(results.read(file)) == 1
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()]


NETWORK = """
from torch import nn
class Net(nn.Module):
    def forward(self, x, t):
        return x * 2
"""


def test_what_lies_in_the_current_folder_is_not_run_in_place_of_a_library(tmp_path: Path) -> None:
    for name in ("dimbench", "json", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the current folder ran')")
    (tmp_path / "mine.py").write_text(NETWORK)
    started = ("-P", "-c", "from dimbench.cli import main; main()")  # as the installed command does
    processes.finish(processes.start(tmp_path, "bench", "mine.py:Net", "--budget", "0.1", python=started))


def test_a_package_is_found_by_the_child_where_its_parent_finds_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "net.py").write_text(NETWORK)
    processes.finish(processes.start(tmp_path, "bench", "mine.net:Net", "--budget", "0.1"))


def test_device_measures_and_keeps_the_ceilings_that_bench_divides_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SIDES", {"cpu": (8,)})
    monkeypatch.setattr(ceilings, "COPY_BYTES", {"cpu": 2**16})
    ran = dimbench("device", "--budget", "0.02", "--json")
    assert ran.code == 0, ran.stderr
    (record,) = json.loads(ran.stdout)
    kept = ceilings.load(record["model"], record["conditions"]["threads"])
    assert kept is not None
    assert record["metrics"]["fp32_macs_per_second"] == kept.macs_per_second["fp32"]
    assert "matrix product, fp32" in dimbench("device", "--budget", "0.02").stdout
    assert "budget of 0 seconds" in refused(2, "device", "--budget", "0")


class Counting:
    """Stands in for the child processes: a row takes as many seconds as it has pixels."""

    def __init__(self) -> None:
        self.ran: list[Row] = []

    def __call__(self, row: Row, on_progress: Any, command: Any = None) -> Record:
        self.ran.append(row)
        seconds = float(row.resolution) if row.model == "dit-s8" else row.resolution**2 / 600.0
        device_name = results.describe_machine()["processor"]
        conditions = {"mode": row.mode, "device": "cpu", "device_name": device_name, "dtype": row.dtype}
        conditions |= {"batch": row.batch, "resolution": row.resolution, "threads": 1}
        metrics = {"seconds": seconds, "seconds_low": 0.99 * seconds, "seconds_high": 1.01 * seconds}
        return Record("bench", row.model, conditions, metrics, details={"row": row.key})


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    stand_in = Counting()
    monkeypatch.setattr(parent, "measure", stand_in)
    return stand_in


RESOLUTION = ("sweep", "resolution", "--model", "dit-s8", "--model", "dit-s4", "--dtype", "fp32")


def test_a_sweep_resumes_and_computes_crossovers(counting: Counting, tmp_path: Path) -> None:
    ran = dimbench(*RESOLUTION)
    assert ran.code == 0, ran.stderr
    assert len(counting.ran) == 12
    assert "at 600 px, between 512 and 1024" in ran.stdout
    kept = _file().read_text().splitlines()[:7]
    _file().write_text("\n".join(kept) + "\n")
    again = dimbench(*RESOLUTION)
    assert "7 of 12 rows are in" in again.stderr
    assert len(counting.ran) == 12 + 5
    assert again.stdout == ran.stdout
    assert all(record["details"]["sweep"] == "resolution" for record in results.read(_file()))


def test_shards_merge_by_concatenation(counting: Counting, tmp_path: Path) -> None:
    parts = [tmp_path / f"{i}.jsonl" for i in (1, 2, 3)]
    for i, part in enumerate(parts, start=1):
        assert dimbench(*RESOLUTION, "--shard", f"{i}/3", "--out", part).code == 0
    merged = tmp_path / "merged.jsonl"
    merged.write_text("".join(part.read_text() for part in parts))
    assert len(counting.ran) == 12
    ran = dimbench(*RESOLUTION, "--out", merged, "--json")
    assert len(counting.ran) == 12
    assert len(json.loads(ran.stdout)) == 12


def test_rows_that_this_device_cannot_run_are_left_out_and_named(counting: Counting) -> None:
    ran = dimbench("sweep", "dtype", "--model", "dit-s8")
    assert "left out: tf32 is a mode of NVIDIA GPUs" in ran.stderr
    assert {row.dtype for row in counting.ran} >= {"fp32", "bf16"}


def test_one_failing_row_costs_only_itself(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(row: Row, on_progress: Any) -> Record:
        if row.resolution == 512:
            raise parent.DimbenchError("it broke; mend it")
        return counting(row, on_progress)

    monkeypatch.setattr(parent, "measure", sometimes)
    ran = dimbench(*RESOLUTION)
    assert ran.code == 1
    assert "2 rows failed; the others are stored" in ran.stderr
    assert len(results.read(_file())) == 10


def test_sweeps_are_listed_and_bad_names_refused() -> None:
    assert "paper-dimsum-speed" in dimbench("sweep").stdout
    assert "did you mean resolution" in refused(2, "sweep", "resolutoin")
    assert "--shard" in refused(2, "sweep", "patch", "--shard", "5/4")
