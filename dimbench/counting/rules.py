"""Ways to add a bill up: each paper's own rule, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dimbench.counting.lines import Bill, Line
from dimbench.errors import UsageError

Weigh = Callable[[Line], float]


@dataclass(frozen=True)
class Rule:
    """A way to add a bill up: `weigh` gives a line's share in multiply-adds; a rule that knows modules by their names
    holds for one `family`."""

    name: str
    says: str
    source: str
    weigh: Weigh
    family: str | None = None

    def check(self, model: str, family: str | None) -> None:
        """UsageError where the rule was derived for another family than that of `model`."""
        if self.family not in (None, family):
            raise UsageError(
                f"--rule {self.name} knows the modules of {self.family} by their names and holds for it alone, and "
                f"{model} is none; give another rule"
            )

    def macs(self, bill: Bill) -> int:
        """The sum over the bill, in multiply-adds."""
        return round(sum(self.weigh(line) for line in bill.lines))

    def rows(self, bill: Bill) -> list[dict[str, Any]]:
        """The bill's lines as plain records with their multiply-adds; what the rule gives nothing is left out."""
        return [
            {"module": line.module, "operator": line.operator, "count": line.count, "macs": round(weight)}
            for line in bill.lines
            if (weight := self.weigh(line))
        ]


def _macs(line: Line) -> float:
    return 0 if line.dead else line.macs


def _dit_paper(line: Line) -> float:
    return line.elements if line.operator == "layer_norm" else _macs(line)


def _calflops(line: Line) -> float:
    unseen = line.module.endswith(("mixer.in_proj", "mixer.dt_proj"))
    return 0 if unseen or line.operator in ("attention", "causal_conv", "selective_scan") else line.macs


# Per output element, besides one for what a norm's gain scales.
_FVCORE_ELEMENTS = {
    "layer_norm": 4,
    "group_norm": 4,
    "batch_norm": 4,
    "frozen_batch_norm": 1,
    "upsample_nearest2d": 1,
    "upsample_bilinear2d": 4,
    "grid_sampler_2d": 4,
}


def _fvcore(line: Line) -> float:
    if line.operator in ("linear", "convolution", "matmul"):
        return _macs(line)
    if line.operator == "adaptive_avg_pool2d":
        return line.read
    return _FVCORE_ELEMENTS.get(line.operator, 0) * line.elements + line.gained + line.plain


def _torchprofile(line: Line) -> float:
    # A fused softmax has one element per score, and each score was scaled by a product of its own.
    return line.elements if line.operator in ("mul", "softmax") else _macs(line)


def _fvcore_fused(line: Line) -> float:
    inside = line.module.endswith((".conv1d", ".x_proj", ".dt_proj", "attn1.out_proj", "mixer.out_proj"))
    return 0 if inside else _fvcore(line)


def _modulation_once(line: Line) -> float:
    # Where all tokens of an image share a condition its product has one vector per image.
    shared = line.operator == "linear" and "adaLN_modulation" in line.module and not line.dead
    return line.macs / line.vectors * line.images if shared else _macs(line)


def _scan_mamba(line: Line) -> float:
    if line.operator != "selective_scan":
        return _macs(line)
    states = line.macs // line.elements // 4  # the bill has 4 N + 2 or 3 products per channel and position
    return 9 * states * line.elements / 2


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "macs",
            "one per multiply-add of linear, convolution, matmul and attention products, of the selective scan "
            "(4 L E N + 3 L E) and of Haar as 2 x 2 convolutions; a product of complex numbers is four",
            "dimbench's own",
            _macs,
        ),
        Rule(
            "dit-paper",
            "macs, and one per layer-norm element",
            "Peebles & Xie, arXiv 2212.09748, tables 1 and 4: the rule that gives their figures to the second decimal",
            _dit_paper,
        ),
        Rule(
            "calflops",
            "what calflops sees of DiMSUM: no in_proj, dt_proj, attention, causal convolution or scan; with the dead "
            "cond_proj",
            "Phung et al., arXiv 2411.04168, GFLOPs column: FLOPs of calflops 0.3 divided by 2",
            _calflops,
            family="dimsum",
        ),
        Rule(
            "fvcore",
            "what fvcore 0.1.5 sees: linear, convolution and matmul, no fused attention, baddbmm, scan or Haar; 4 per "
            "element of a norm, 5 with a gain (1 and 2 of a frozen batch norm), 1 or 4 of what is resampled, 1 of what "
            "is pooled adaptively",
            "facebookresearch/fvcore, fvcore/nn/jit_handles.py; its own name for the sum is flops",
            _fvcore,
        ),
        Rule(
            "torchprofile",
            "what torchprofile sees of U-DiT: macs, and one per element of every elementwise product, the scaling of "
            "attention scores included",
            "Tian et al., arXiv 2405.02730, tables 2, 6, 8 and 10: the network with merged branches",
            _torchprofile,
        ),
        Rule(
            "fvcore-fused",
            "what fvcore sees where a Mamba mixer after its in_proj is one fused kernel: no conv1d, x_proj, dt_proj, "
            "scan or out_proj",
            "DiCo, arXiv 2505.11196, tables 1 and 2, of DiM-H: inferred, since this sum gives their figures",
            _fvcore_fused,
            family="dim",
        ),
        Rule(
            "modulation-once",
            "macs, with shift, scale and gate counted once per image where each token has its own",
            "DDT-XL/2 at 512, arXiv 2504.05741, and DiT-DH-XL, arXiv 2510.11690: the sums that give their figures",
            _modulation_once,
        ),
        Rule(
            "scan-mamba",
            "macs, with the scan at 9 B L E N FLOPs, the work-efficient parallel form",
            "state-spaces/mamba#110",
            _scan_mamba,
        ),
    )
}
