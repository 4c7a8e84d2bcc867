from __future__ import annotations

import csv
import sys
from typing import Any

import pytest
import torch
from torch import nn

from dimbench import backbone, presets
from dimbench.commands.flops import RuleName
from dimbench.counting import engines
from dimbench.counting.bill import Bill, trace
from dimbench.counting.parameters import count
from dimbench.counting.rules import RULES
from dimbench.meta import shapes_only
from tests import example
from tests import golden_data as golden


def counted(name: str, resolution: int, **overrides: Any) -> tuple[nn.Module, Bill]:
    preset = presets.find(name)
    with shapes_only():
        model = example.built(preset, resolution, **overrides)
    return model, trace(model, example.inputs(model, 1, "meta"), 1)


def rows(name: str) -> list[dict[str, str]]:
    with (golden.GOLDEN / f"{name}-numbers.csv").open() as file:
        return list(csv.DictReader(file))


PAPER_ONLY = {"in-context": "incontext", "cross-attention": "crossattn", "adaLN": "adaln"}


def dit_name(row: dict[str, str]) -> str:
    model, _, design = row["model"].partition(" (")
    return model + (f"-{PAPER_ONLY[design.split(';')[0]]}" if design else "")


@pytest.mark.parametrize("row", rows("dit"), ids=lambda row: f"{dit_name(row)}-{row['resolution']}")
def test_dit_rows_are_exact(row: dict[str, str]) -> None:
    model, bill = counted(dit_name(row), int(row["resolution"]))
    assert RULES["macs"].macs(bill) == int(row["analytic_macs"])
    assert RULES["dit-paper"].macs(bill) == int(row["analytic_plus_layernorm"])
    assert count(model)["params"] == int(row["params_trainable"])
    if official := row["fvcore_macs_official_fused"]:
        # fvcore adds half an operation per output element for the einsum of the official unpatchify; ours is none
        image = 4 * (int(row["resolution"]) // 8) ** 2
        assert RULES["fvcore"].macs(bill) + image == pytest.approx(int(official), abs=1)


@pytest.mark.parametrize("row", rows("dimsum"), ids=lambda row: "-".join(list(row.values())[:4]))
def test_dimsum_rows_are_exact(row: dict[str, str]) -> None:
    model, bill = counted(
        row["model"],
        int(row["resolution"]),
        num_classes=int(row["label_rows"]),
        label_dropout=-1,
        use_attn_every_k_layers=int(row["shared_block_every"]),
    )
    config: Any = model.config
    dead = 2 * config.depth * config.hidden_size**2
    assert RULES["macs"].macs(bill) == int(row["macs_total"]) - dead
    assert bill.dead_macs == dead
    assert count(model)["params"] == int(row["params_trainable"])
    assert count(model)["params_dead"] == int(row["params_dead_cond_proj"])
    if official := row["macs_calflops_flops_div2_as_official"]:
        # the rest is calflops' own treatment of Haar and elementwise work
        assert RULES["calflops"].macs(bill) == pytest.approx(int(official), rel=2e-4)


def test_the_figures_of_the_readme() -> None:
    _, bill = counted("dimsum-l2", 256)
    assert RULES["macs"].macs(bill) == 96_598_228_992
    assert f"{RULES['calflops'].macs(bill) / 1e9:.2f}" == "84.49"


def test_scan_mamba_rule_is_nine_operations_per_state() -> None:
    _, bill = counted("dimsum-l2", 256)
    plain = RULES["macs"].macs(bill)
    tokens, channels, states, mixers = 256, 1024, 16, 32
    ours, theirs = 2 * (4 * states + 3) * tokens * channels, 9 * tokens * channels * states
    assert 2 * (RULES["scan-mamba"].macs(bill) - plain) == mixers * (theirs - ours)


@pytest.mark.parametrize("name", ["dit-s8", "dimsum-digits"])
def test_batch_scales_every_line(name: str) -> None:
    preset = presets.find(name)
    with shapes_only():
        model = example.built(preset)
    one, five = (trace(model, example.inputs(model, n, "meta"), n) for n in (1, 5))
    for rule in RULES.values():
        # torchprofile also counts the products behind the frequencies of the time, made once for all images.
        once = 256 if rule.name == "torchprofile" else 0
        assert 5 * rule.macs(one) - rule.macs(five) <= 4 * once, rule.name
        assert rule.macs(five) <= 5 * rule.macs(one), rule.name
    for operator in ("softmax", "layer_norm", "gelu"):
        calls, elements = one.uncounted[operator]
        assert five.uncounted[operator] == (calls, 5 * elements)


@pytest.mark.parametrize("name", ["dit-s8", "dit-digits", "dimsum-digits"])
def test_three_counters_agree_on_products(name: str) -> None:
    preset = presets.find(name)
    _, bill = counted(name, preset.resolution)
    real = backbone.create_model(name)
    inputs = example.inputs(real, 1)
    assert engines.torch_counter(real, inputs) == bill.by_operator
    by_fvcore, skipped = engines.fvcore(real, inputs)
    by_fvcore.pop("layer_norm")
    assert by_fvcore == bill.by_operator
    assert "silu" in skipped


@pytest.mark.parametrize("name", ["dit-s8", "dimsum-digits"])
def test_fvcore_rule_is_what_fvcore_says_without_handles(name: str) -> None:
    from fvcore.nn import FlopCountAnalysis

    preset = presets.find(name)
    _, bill = counted(name, preset.resolution)
    real = backbone.create_model(name)
    analysis = FlopCountAnalysis(real, tuple(example.inputs(real, 1).values()))
    analysis.unsupported_ops_warnings(False).tracer_warnings("none").uncalled_modules_warnings(False)
    assert RULES["fvcore"].macs(bill) == analysis.total()


class Odd(nn.Module):
    """Operators of every sort that a backbone may bring, with hand-counted products."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))  # (2, 6, 8, 8)
        rows = x.flatten(2)
        scores = torch.einsum("ncl,nml->ncm", rows, rows)
        return torch.fft.rfft(scores.softmax(-1)).abs()


def test_unknown_operators_are_listed_and_products_are_not_lost() -> None:
    with shapes_only():
        model = Odd()
    bill = trace(model, {"x": torch.empty(2, 4, 8, 8, device="meta")}, 2)
    convolution, products = 2 * 6 * 64 * (4 // 2) * 9, 2 * 6 * 6 * 64
    assert RULES["macs"].macs(bill) == convolution + products
    assert bill.uncounted["softmax"] == (1, 2 * 6 * 6)
    assert bill.uncounted["group_norm"] == (1, 2 * 6 * 64)
    assert any("fft" in name for name in bill.uncounted)


def test_rules_offered_are_the_rules_there_are() -> None:
    assert [rule.value for rule in RuleName] == list(RULES)


@pytest.mark.parametrize(
    ("name", "compiler"), [("dit-s8", "triton"), ("dit-s8", "torch._dynamo"), ("dimsum-digits", "torch._dynamo")]
)
def test_a_count_does_not_load_the_compiler(name: str, compiler: str) -> None:
    import subprocess

    script = (
        "import sys; _, name, compiler = sys.argv;"
        "sys.argv = ['dimbench', 'flops', name, '--batch', '3', '--out', '/dev/null'];"
        "from dimbench.cli import app; app(standalone_mode=False);"
        "assert 'torch' in sys.modules, 'nothing was counted';"
        "assert compiler not in sys.modules, 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", script, name, compiler], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
