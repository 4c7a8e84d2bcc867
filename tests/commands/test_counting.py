"""list, params and flops, as a user types them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import flop_registry

from dimbench import paths, presets, results
from dimbench.counting import costs
from dimbench.diffusers_networks import latent_space
from dimbench.report import bills
from dimbench.results import Record
from dimbench.sampling import decoding
from tests.console import dimbench, refused

NET = """
from torch import nn


class Net(nn.Module):
    in_channels, input_size = 3, 8

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return self.mix(x).tanh()
"""
KEYS = {"schema", "command", "model", "conditions", "environment", "metrics", "warnings", "created"}


def test_list_shows_every_model_and_filters() -> None:
    shown = dimbench("list").stdout
    assert all(name in shown for name in presets.all_presets())
    narrowed = dimbench("list", "DiT-S*").stdout
    assert "dit-s8" in narrowed
    assert "dit-b2" not in narrowed
    assert "sit-s2" not in dimbench("list", "--family", "DiMSUM").stdout
    entries = json.loads(dimbench("list", "dit-xl2", "--json").stdout)
    assert [entry["name"] for entry in entries] == ["dit-xl2"]
    assert entries[0]["checkpoints"][0]["file"] == "DiT-XL-2-256x256.pt"


def test_list_says_where_weights_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ships" in dimbench("list", "dit-digits").stdout
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)  # as in a wheel without those of the digits
    shown = dimbench("list", "dit-digits").stdout
    assert "extra digits" in shown
    assert "ships" not in shown


def test_list_names_a_family_once() -> None:
    firsts = [line.split()[0] for line in dimbench("list", "dit-s*").stdout.splitlines() if "arXiv" in line]
    assert firsts == ["dit", "dit-s4", "dit-s8"]


def test_list_for_a_benchmark_shows_models_with_their_latents() -> None:
    entries = {e["model"]: e for e in json.loads(dimbench("list", "--for", "ImageNet-256", "--json").stdout)}
    shapes = [(3, 256, 256), (32, 16, 16), (768, 16, 16), (4, 32, 32)]
    for name, latent in zip(("jit-b16", "lightningdit-xl1", "dit-dh-xl", "dit-l4"), shapes, strict=True):
        assert tuple(entries[name]["latent"]) == latent
    assert (entries["lightningdit-xl1"]["fid"], entries["lightningdit-xl1"]["normalised"]) == ("1.35", "by channel")
    assert "dim-s2" not in entries, "its FID is of CIFAR-10"
    assert "none: pixels" in dimbench("list", "jit-b16", "--for", "imagenet-256").stdout


def test_flops_prints_both_units_and_the_claim(tmp_path: Path) -> None:
    shown = dimbench("flops", "dimsum-l2").stdout
    for words in ("96,598,228,992", "193,196,457,984", "84.49 G", "calflops", "uncounted", "softmax", "dead"):
        assert words in shown, words


def test_flops_says_which_form_it_counted() -> None:
    merged, plain = json.loads(dimbench("flops", "udit-digits", "dit-s8", "--json").stdout)
    assert (merged["conditions"]["form"], plain["conditions"]["form"]) == ("merged", "as trained")
    assert merged["metrics"]["params_inference"] < merged["metrics"]["params"]
    assert plain["metrics"]["params_inference"] == plain["metrics"]["params"]


@pytest.mark.parametrize("command", ["flops", "params"])
def test_json_is_an_array_of_the_records_that_were_stored(command: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    ran = dimbench(command, "dit-s8", "dit-s4", "--json", "--out", file)
    records = json.loads(ran.stdout)
    assert [record["model"] for record in records] == ["dit-s8", "dit-s4"]
    assert all(set(record) >= KEYS for record in records)
    assert results.read(file) == records
    assert records[0]["metrics"]["params"] == presets.find("dit-s8").counted["params"]


def test_records_go_to_the_results_folder_by_default(tmp_path: Path) -> None:
    dimbench("params", "dit-s8")
    dimbench("flops", "dit-s8")
    commands = [record["command"] for record in results.read(tmp_path / "results" / "records.jsonl")]
    assert commands == ["params", "flops"]


def test_rules_and_whole_images() -> None:
    (plain,) = json.loads(dimbench("flops", "dit-xl4", "--json").stdout)
    (paper,) = json.loads(dimbench("flops", "dit-xl4", "--rule", "dit-paper", "--json").stdout)
    assert paper["metrics"]["macs"] == 29_047_873_536
    assert paper["conditions"]["rule"] == "dit-paper"
    (image,) = json.loads(dimbench("flops", "dit-xl4", "--steps", 250, "--cfg", "--json").stdout)
    metrics = image["metrics"]
    assert metrics["decode_macs"] == decoding.macs((4, 32, 32), latent_space("sd-vae-ft-ema"))
    assert (metrics["network_calls"], metrics["passes_per_image"]) == (250, 500)
    assert metrics["run_macs"] == 500 * plain["metrics"]["macs"] + metrics["decode_macs"]
    assert metrics["run_flops"] == 2 * metrics["run_macs"]


@pytest.mark.parametrize(
    ("words", "calls", "passes"),
    [
        (["sit-s8", "--steps", 20], 38, 38),  # Heun's 19 steps of two calls
        (["sit-s8", "--steps", 20, "--sampler", "euler", "--cfg"], 19, 38),
        (["dim-h2", "--resolution", 1024, "--steps", 20], 27, 27),  # seven more, of the reduced image
    ],
)
def test_a_run_is_counted_as_it_is_executed(words: list[object], calls: int, passes: int) -> None:
    (record,) = json.loads(dimbench("flops", *words, "--json").stdout)
    metrics = record["metrics"]
    assert (metrics["network_calls"], metrics["passes_per_image"]) == (calls, passes)
    work = metrics["run_macs"] - metrics["decode_macs"]
    if passes == 27:
        assert 20 * metrics["macs"] < work < 22 * metrics["macs"], "a reduced image costs a quarter"
    else:
        assert work == passes * metrics["macs"]


def test_an_adaptive_sampler_is_not_counted_on_shapes() -> None:
    assert "dopri5 chooses its steps" in refused(2, "flops", "sit-s8", "--steps", 20, "--sampler", "dopri5")


def test_an_adaptive_sampler_is_counted_on_real_tensors(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    words = ("flops", f"{tmp_path}/net.py:Net", "--process", "flow", "--sampler", "dopri5", "--steps", 3)
    assert "with --real" in refused(2, *words)
    (record,) = json.loads(dimbench(*words, "--real", "--batch", 2, "--json").stdout)
    assert record["details"]["counted_on"] == 2
    assert record["metrics"]["network_calls"] > 6
    assert record["metrics"]["run_macs"] == record["metrics"]["network_calls"] * record["metrics"]["macs"]
    assert "counted on 2 images" in dimbench(*words, "--real", "--batch", 2).stdout


def test_the_usual_run_is_the_preset_s() -> None:
    (record,) = json.loads(dimbench("flops", "pixart-alpha-1024", "--usual", "--json").stdout)
    conditions, metrics = record["conditions"], record["metrics"]
    assert (conditions["sampler"], conditions["steps"], conditions["guided"]) == ("ddim", 20, True)
    assert metrics["run_macs"] == 40 * metrics["macs"] + metrics["decode_macs"]
    assert [cost["encoder"] for cost in record["details"]["text_encoders"]] == ["t5-xxl"]
    assert "--usual is a sampler" in refused(2, "flops", "dit-s8", "--usual", "--steps", 3)


def test_text_encoders_that_cannot_be_counted_are_said() -> None:
    record = Record("flops", "m", {}, {}, details={"text_encoders": None})
    (table,) = bills.text_encoders([record])
    assert table.notes == ["m: text encoders not counted: transformers is not installed."]
    assert bills.text_encoders([replace(record, details={})]) == []


def test_breakdowns_add_up() -> None:
    (record,) = json.loads(dimbench("flops", "dimsum-b2", "--breakdown", "module", "--json").stdout)
    assert sum(line["macs"] for line in record["details"]["bill"]) == record["metrics"]["macs"]
    tree = dimbench("flops", "dimsum-b2", "--breakdown", "module").stdout
    assert "0..11" in tree
    assert "12 x" in tree
    operators = dimbench("flops", "dimsum-b2", "--breakdown", "operator").stdout
    assert "selective_scan" in operators
    assert "uncounted" in operators


def test_parameters_by_module_add_up() -> None:
    (record,) = json.loads(dimbench("params", "dimsum-b2", "--breakdown", "--json").stdout)
    assert sum(number for _, number in record["details"]["modules"]) == record["metrics"]["params"]
    assert "0..11" in dimbench("params", "dimsum-b2", "--breakdown").stdout


def test_tables_as_csv_and_markdown() -> None:
    rows = list(csv.DictReader(io.StringIO(dimbench("flops", "dit-s8", "--csv").stdout)))
    assert rows[0]["MACs (macs)"] == "357974016"
    markdown = dimbench("flops", "dit-s8", "--markdown").stdout.splitlines()
    assert markdown[0].startswith("| model |")
    assert set(markdown[1]) <= set("|-: ")


def test_other_engines() -> None:
    (record,) = json.loads(dimbench("flops", "dit-s8", "--engine", "fvcore", "--json").stdout)
    assert record["metrics"]["macs"] == 357_974_016 + 4 * 153_600  # its norms, not its einsum
    shown = dimbench("flops", "dit-s8", "--check").stdout
    assert "all agree" in shown
    assert "layer_norm" in shown


def test_operators_of_a_network_without_a_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("from torch.nn import Linear\ndef build():\n    return Linear(16, 4)\n")
    ran = dimbench("flops", "net.py:build", "--input", "input=6x16", "--check")
    assert ran.code == 0, ran.stderr
    assert "net.py:build at input=6x16" in ran.stdout


def test_products_without_a_formula_are_shown_and_strict_fails_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dimbench("flops", "dimsum-digits", "--strict").code == 0
    monkeypatch.delitem(flop_registry, torch.ops.dimbench.selective_scan)
    costs._KNOWN.clear()
    try:
        shown = dimbench("flops", "dimsum-digits", "--breakdown", "operator").stdout
        assert "products not counted, for no formula is known: dimbench::selective_scan x" in shown
        (record,) = json.loads(dimbench("flops", "dimsum-digits", "--breakdown", "operator", "--json").stdout)
        assert list(record["details"]["missing"]) == ["dimbench::selective_scan"]
        assert "dimbench::selective_scan" in refused(1, "flops", "dimsum-digits", "--breakdown", "operator", "--strict")
    finally:
        costs._KNOWN.clear()


def test_counting_on_real_tensors_says_on_how_many() -> None:
    (shapes,) = json.loads(dimbench("flops", "dit-digits", "--json").stdout)
    (real,) = json.loads(dimbench("flops", "dit-digits", "--real", "--batch", 2, "--json").stdout)
    assert real["metrics"]["macs"] == shapes["metrics"]["macs"]
    assert (shapes["details"]["counted_on"], real["details"]["counted_on"]) == (None, 2)
    assert "counted on 2 images" in dimbench("flops", "dit-digits", "--real", "--batch", 2).stdout


def test_what_values_decide_is_no_run_as_it_is_executed_on_shapes() -> None:
    words = ("flops", "dydit-s2", "--set", "depth=2", "--steps", 2)
    (shapes,) = json.loads(dimbench(*words, "--json").stdout)
    (real,) = json.loads(dimbench(*words, "--real", "--json").stdout)
    assert real["metrics"]["run_macs"] < shapes["metrics"]["run_macs"]
    said = dimbench(*words).stdout
    assert "values decide which tokens, heads and channels are left out" in said
    assert "as it is executed" not in said
    said = dimbench(*words, "--real").stdout
    assert "values decide" not in said
    assert "as it is executed" in said


ROUTED = """
import torch
from torch import nn

class Routed(nn.Module):
    in_channels, input_size = 3, 8

    def __init__(self):
        super().__init__()
        self.gate, self.mix = nn.Parameter(torch.zeros(())), nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x, t):
        return self.mix(self.mix(x)) if self.gate > 0 else self.mix(x)
"""


def test_what_depends_on_the_weights_is_counted_with_those_of_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(ROUTED)
    torch.save({"gate": torch.ones(()), "mix.weight": torch.ones(3, 3, 1, 1)}, tmp_path / "open.pt")
    words = ("flops", f"{tmp_path}/net.py:Routed", "--process", "flow", "--sampler", "euler", "--steps", 3)
    trained = ("--weights", tmp_path / "open.pt")
    (shut,) = json.loads(dimbench(*words, "--real", "--json").stdout)
    (opened,) = json.loads(dimbench(*words, "--real", *trained, "--json").stdout)
    for name in ("macs", "run_macs"):
        assert opened["metrics"][name] == 2 * shut["metrics"][name] > 0
    assert len(opened["conditions"]["weights"]) == 16
    assert f"with the weights {opened['conditions']['weights']}" in dimbench(*words, "--real", *trained).stdout
    assert "or give --real" in refused(2, *words, *trained)
    assert "cannot fit 2 models" in refused(2, *words, "dit-s8", "--real", *trained)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["flops", "dit-s8", "--rule", "calflops"], "--rule calflops knows the modules of dimsum"),
        (["flops", "dimsum-digits", "--rule", "fvcore-fused"], "--rule fvcore-fused knows the modules of dim "),
        (["flops", "dit-xl3"], "unknown model 'dit-xl3'; did you mean"),
        (["flops", "dit-s8", "--steps", "3", "--cfg", "1.5"], "1.5 names no model; if it was meant for the option"),
        (["flops", "xyz-*"], "no model matches"),
        (["params", "dit-s2", "--resolution", "100"], "resolution 100"),
        (["flops", "dit-s8", "--resolution", "288"], "patches of 8"),
        (["flops", "dimsum-l2", "--resolution", "288"], "wavelet"),
        (["flops", "dit-s2", "--cfg"], "--steps"),
        (["flops", "dit-s2", "--json", "--csv"], "--json and --csv"),
        (["flops", "dit-s2", "--engine", "fvcore", "--rule", "calflops"], "--engine fvcore"),
        (["list", "--family", "gan"], "unknown family 'gan'"),
        (["list", "--for", "imagenet-25"], "did you mean imagenet-256"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str) -> None:
    said = refused(2, *words)
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["flops", "dit-s2", "--steps", "0"],
        ["flops", "dit-s2", "--resolution", "-8"],
        ["flops"],
        ["flops", "dit-s2", "--rule", "x"],
        ["fly"],
    ],
)
def test_usage_errors_exit_with_two(words: list[str]) -> None:
    assert refused(2, *words)


def test_unwritable_records_are_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(1, "flops", "dit-s2", "--out", tmp_path / "file" / "x.jsonl")


def test_what_is_uncounted_in_several_models_is_one_line() -> None:
    several = dimbench("flops", "dit-s2", "dit-s4").stdout
    assert several.count("ncounted") == 1
    assert "Uncounted: " in several
    assert "dit-s2 uncounted (output elements): " in dimbench("flops", "dit-s2").stdout


def test_a_list_for_a_benchmark_shows_what_is_counted_at_its_size() -> None:
    listed = dimbench("list", "dit-xl2", "sit-xl2", "--for", "imagenet-512", "--csv").stdout
    rows = csv.DictReader(io.StringIO(listed.strip()))
    assert {row["name"]: row["MACs"] for row in rows} == dict.fromkeys(("dit-xl2", "sit-xl2"), "524538298368")
