"""Counters that people use, on the same network and on one product of each kind: what they give of it, and what not.

Each runs as its readme has it, without handles of ours, and each call in a process of its own.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.backbone import Backbone
from dimbench.counting.costs import count
from dimbench.counting.engines import OfTensors, apart
from dimbench.counting.in_hand import called
from dimbench.errors import DimbenchError
from dimbench.progress import stepping

Macs = Callable[[nn.Module, tuple[Tensor, ...]], float]

ALIKE = 0.005  # of a product: what is nearer counts it, but for what a counter adds for biases


@dataclass(frozen=True)
class Tool:
    """A counter of a `package`; `macs` gives multiply-adds of a call."""

    package: str
    macs: Macs


@dataclass(frozen=True)
class ToolCount:
    """What the counter `tool` gives of a network, as a share of `ours`; None with the reason in `failed`. `probes` are
    its shares of one product of each kind, None where it failed on it."""

    tool: str
    version: str
    macs: float | None
    ours: int
    failed: str
    probes: Mapping[str, float | None]

    @property
    def share(self) -> float | None:
        return None if self.macs is None else self.macs / self.ours


def _torch(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() / 2


def _fvcore(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    return FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).tracer_warnings("none").total()


def _calflops(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from calflops import calculate_flops

    options = {"print_results": False, "print_detailed": False, "output_as_string": False}
    return calculate_flops(model, args=list(inputs), **options)[1]


def _ptflops(backend: str) -> Macs:
    def macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
        from ptflops import get_model_complexity_info

        given = {f"x{index}": each for index, each in enumerate(inputs)}
        return get_model_complexity_info(
            _ByName(model), (1,), input_constructor=lambda _: given, backend=backend, as_strings=False,
            print_per_layer_stat=False, verbose=False,
        )[0]  # fmt: skip

    return macs


def _thop(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from thop import profile

    return profile(model, inputs=inputs, verbose=False)[0]


def _torchinfo(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from torchinfo import summary

    return summary(model, input_data=list(inputs), verbose=0, device="cpu").total_mult_adds


def _deepspeed(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    from deepspeed.profiling.flops_profiler import get_model_profile

    return get_model_profile(model, args=list(inputs), print_profile=False, as_string=False, warm_up=0)[1]


TOOLS = {
    "torch": Tool("torch", _torch),
    "fvcore": Tool("fvcore", _fvcore),
    "calflops": Tool("calflops", _calflops),
    "ptflops, pytorch": Tool("ptflops", _ptflops("pytorch")),
    "ptflops, aten": Tool("ptflops", _ptflops("aten")),
    "thop": Tool("thop", _thop),
    "torchinfo": Tool("torchinfo", _torchinfo),
    "DeepSpeed": Tool("deepspeed", _deepspeed),
}


class _ByName(nn.Module):
    """Called by keyword, as ptflops does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Any:
        return self.model(*inputs.values())


class _Product(nn.Module):
    """One product of two tensors."""

    def __init__(self, product: Callable[..., Tensor]) -> None:
        super().__init__()
        self.product = product
        self.unused = nn.Parameter(torch.zeros(1))  # some counters ask a parameter where the network lies

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.product(*inputs)


def _probes() -> dict[str, tuple[nn.Module, tuple[Tensor, ...], int]]:
    """A product of each kind with its multiply-adds: 2 samples of 16 tokens of width 8, 8 channels of 4 x 4."""
    x, y = torch.zeros(2, 16, 8), torch.zeros(2, 8, 16)
    image, heads = torch.zeros(1, 8, 4, 4), torch.zeros(2, 2, 16, 8)
    size = 2 * 16 * 8
    return {
        "linear on tokens": (nn.Linear(8, 8, bias=False), (x,), size * 8),
        "convolution": (nn.Conv2d(8, 8, 3, padding=1, bias=False), (image,), 16 * 8 * 8 * 9),
        "transposed convolution": (nn.ConvTranspose2d(8, 8, 2, 2, bias=False), (image,), 16 * 8 * 8 * 4),
        "@": (_Product(lambda a, b: a @ b), (x, y), size * 16),
        "matmul": (_Product(lambda a, b: torch.matmul(a, b)), (x, y), size * 16),
        "bmm": (_Product(lambda a, b: torch.bmm(a, b)), (x, y), size * 16),
        "einsum": (_Product(lambda a, b: torch.einsum("nij,njk->nik", a, b)), (x, y), size * 16),
        "attention": (
            _Product(lambda q, k, v: F.scaled_dot_product_attention(q, k, v)), (heads,) * 3, 2 * 2 * 2 * 16 * 16 * 8
        ),
    }  # fmt: skip


def installed() -> dict[str, str]:
    """The counters that are here, with their versions."""
    found = {}
    for name, tool in TOOLS.items():
        try:
            found[name] = version(tool.package)
        except PackageNotFoundError:
            continue
    return found


def of_network(backbone: Backbone) -> list[ToolCount]:
    """What every counter that is installed gives of a pass for one sample, with real weights on the CPU."""
    ours, here = count(backbone).macs("macs"), installed()

    def network() -> tuple[nn.Module, tuple[Tensor, ...]]:
        model, inputs = called(backbone)
        wrapped = OfTensors(model, inputs)
        return wrapped.eval(), wrapped.tensors

    found = []
    with stepping(f"counters on {backbone.name}", len(here)) as progress:
        for done, (name, release) in enumerate(here.items()):
            progress(done, name)
            macs, failed = _macs(TOOLS[name].macs, network)
            found.append(ToolCount(name, release, macs, ours, failed, _shares(TOOLS[name].macs)))
        progress(len(here))
    return found


def _shares(macs: Macs) -> dict[str, float | None]:
    """Of one product of each kind; after a failure in a new process, for some counters then count what came before."""
    found: dict[str, float | None] = {}
    while kinds := [kind for kind in _probes() if kind not in found]:
        try:
            found |= apart(partial(_until_failure, macs, kinds))
        except DimbenchError:  # the process died
            found[kinds[0]] = None
    return found


def _until_failure(macs: Macs, kinds: Sequence[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for kind in kinds:
        model, inputs, exact = _probes()[kind]
        try:
            found[kind] = _counted(macs, model, inputs) / exact
        except Exception:  # whatever another's counter meets
            found[kind] = None
            break
    return found


def _macs(macs: Macs, make: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]) -> tuple[float | None, str]:
    try:
        return apart(lambda: _counted(macs, *make())), ""
    except DimbenchError as error:
        return None, str(error)


def _counted(macs: Macs, model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return float(macs(model.eval(), inputs))
