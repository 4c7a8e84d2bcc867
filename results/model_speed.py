"""How long whole networks take beside a DiT of their size, beside their authors' modules and those of diffusers, and
what share of it the scan has: forwards taking turns in one process, on a CPU with two threads.

Run from the root of the checkout: python results/model_speed.py [--rounds N] [--official FOLDER] [--only NAME ...]
[--device cuda] [--dtype bf16] [--batch N] [--out FILE]; FOLDER holds clones of the authors' repositories under their
own names (DiT, LightningDiT, DDT, U-ViT, DiCo, DiT-MoE, guided-diffusion), whose modules need timm and einops; those
that are not there are left out and said. It appends one record per comparison to results/model-speed.jsonl.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # as eager as ours: some of the authors' functions ask to be compiled

import torch
from torch import nn

from dimbench import backbone, presets, processor, results
from dimbench import stats as series
from dimbench.bench import backend_calls, devices
from dimbench.bench.alternating import alternate, ratios
from dimbench.counting import kept
from dimbench.kernels import backends
from dimbench.results import Record, append
from dimbench.sampling.precision import DTYPES, check_device, placed, set_precision
from dimbench.sampling.run import cast

THREADS = 2
# base -> network: the most times as long it should take
TARGETS = {"dit-l2": {"dimsum-l2": 1.15, "dim-l2": 1.60}, "dit-b2": {"udit-b": 1.08}}
PER_MAC = {"dit-b2": {"jit-b16": 1.05, "lightningdit-b1": 1.05}}  # times the ratio of their multiply-adds
SCANNING = {"dimsum-l2": 0.15, "dim-l2": 0.15}  # the largest share the scan should have

# A mixture of experts beside a dense network of the multiply-adds that it executes, within 0.1 %, and the batch.
DENSE = ("ditmoe-s2-8e2a", "dit-s2,mlp_ratio=15", 1.15, 8)

# Ours, which should take at most as long as the other: the repository, its module, and what of that builds the network.
OFFICIAL: dict[str, tuple[str, str, Callable[[Any], nn.Module]]] = {
    "dit-b2": ("DiT", "models", lambda m: m.DiT_models["DiT-B/2"]()),
    "lightningdit-b1": (
        "LightningDiT",
        "models.lightningdit",
        lambda m: m.LightningDiT_models["LightningDiT-B/1"](
            input_size=16, in_channels=32, learn_sigma=False, use_swiglu=True, use_rope=True, use_rmsnorm=True
        ),
    ),
    "ddt-b2": (
        "DDT",
        "src.models.denoiser.decoupled_improved_dit",
        lambda m: m.DDT(patch_size=2, num_groups=12, hidden_size=768, num_blocks=12, num_encoder_blocks=8),
    ),
    "uvit-s2": (
        "U-ViT",
        "libs.uvit",
        lambda m: m.UViT(
            img_size=32, patch_size=2, in_chans=4, embed_dim=512, depth=12, num_heads=8, num_classes=1001
        ),
    ),
    "dico-s": ("DiCo", "dico_models", lambda m: m.DiT_models["DiCo-S"]()),
    "ditmoe-s2-8e2a": ("DiT-MoE", "models", lambda m: m.DiT_models["DiT-S/2"](num_experts=8, num_experts_per_tok=2)),
    "adm-64": (
        "guided-diffusion",
        "guided_diffusion.script_util",
        lambda m: m.create_model(
            64, 192, 3, learn_sigma=True, class_cond=True, attention_resolutions="32,16,8", num_head_channels=64,
            use_scale_shift_norm=True, resblock_updown=True, use_new_attention_order=True,
        ),
    ),
}  # fmt: skip
# Ours with the same network of diffusers, both at these pixels.
DIFFUSERS = {
    "dit-xl2": ("dit-xl2-diffusers", 256),
    "pixart-xl2-1024": ("pixart-alpha-1024", 256),
    "mmdit-d12,context_tokens=333": (
        "diffusers:SD3Transformer2DModel,num_layers=12,num_attention_heads=12,caption_projection_dim=768",
        256,
    ),
}

Call = Callable[[], object]


@dataclass(frozen=True)
class Place:
    """Where the networks run, in which numbers, and how many images at once."""

    device: str = "cpu"
    dtype: str = "fp32"
    batch: int = 1

    def example(self, found: backbone.Backbone) -> Any:
        """x, t and what the network is given besides."""
        dtype = DTYPES[self.dtype]
        x, t, given = backbone.example(found, self.batch, self.device)
        return x.to(dtype), t, cast(given, dtype)

    def network(self, name: str, resolution: int | None = None) -> Call:
        """One forward pass of the network as it runs at inference."""
        found = backbone.find(name, resolution)
        model = placed(found.running(backbone.created(found)), self.device, DTYPES[self.dtype])
        x, t, given = self.example(found)
        return lambda: found.call(model, x, t, given)

    def official(self, folder: Path, name: str) -> Call | None:
        """One forward pass of the authors' own module, where it is there and runs here; below float32 with autocast,
        for they compute the embedding of the time in float32."""
        repository, module, build = OFFICIAL[name]
        root = folder / repository
        if not root.is_dir():
            print(f"{name}: left out, no {root}", file=sys.stderr)
            return None
        model = placed(build(_imported(root, module)).eval(), self.device, DTYPES[self.dtype])
        x, _, _ = self.example(backbone.find(name))
        t, y = torch.full((self.batch,), 0.5, device=self.device), torch.ones(self.batch, device=self.device).long()
        kind, dtype = torch.device(self.device).type, DTYPES[self.dtype]

        def call() -> object:
            with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
                return model(x, t, y)

        return call


def _imported(root: Path, module: str) -> ModuleType:
    """A module of one repository, whose names may be those of another's."""
    top = [each.stem for each in root.iterdir() if each.suffix == ".py" or (each.is_dir() and any(each.glob("*.py")))]
    for name in [name for name in sys.modules if name.partition(".")[0] in top]:
        del sys.modules[name]
    sys.path.insert(0, str(root))
    try:
        return import_module(module)
    finally:
        sys.path.remove(str(root))


def compare(
    calls: dict[str, Call], base: str, targets: dict[str, float], rounds: int, place: Place, resolution: int = 256
) -> list[Record]:
    clock = backend_calls.clock(place.device)
    with backends.watch() as kernels:
        seconds = alternate(
            calls, rounds, clock, on_round=lambda k: print(f"\r{base}: {k + 1}/{rounds}", end="", file=sys.stderr)
        )
    print(file=sys.stderr)
    device = devices.find(place.device, results.describe_machine()["processor"])
    records = []
    for name, target in targets.items():
        beside = ratios(seconds[name], seconds[base])
        low, high = series.median_interval(beside) or (None, None)
        metrics = {
            "seconds": series.median(seconds[name]),
            "seconds_base": series.median(seconds[base]),
            "ratio": series.median(beside),
            "ratio_low": low,
            "ratio_high": high,
            "target": target,
        }
        here = {"base": base, "resolution": resolution, "batch": place.batch, "dtype": place.dtype}
        here |= {"device_name": device.name, "threads": device.threads, "rounds": rounds}
        samples = {"seconds": seconds[name], "seconds_base": seconds[base]}
        records.append(Record("model-speed", name, {**here, "kernels": kernels}, metrics, samples=samples))
        print(f"{name} / {base}: {metrics['ratio']:.3f} ({low} to {high}), at most {target}")
    return records


def scan_share(name: str, call: Call, target: float) -> Record:
    """The scan's part of three forward passes, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            call()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    share = sum(e.self_cpu_time_total for e in events if e.key == "dimbench::selective_scan") / total
    print(f"{name}: scan {share:.1%} of its time, at most {target:.0%}")
    here = {"resolution": 256, "batch": 1, "dtype": "fp32", "threads": THREADS}
    return Record("scan-share", name, here, {"share": share, "target": target})


def targets() -> dict[str, dict[str, float]]:
    """Base -> network -> the most times as long it should take."""
    macs = {name: kept.sums(name).macs("macs") for base, named in PER_MAC.items() for name in (base, *named)}
    per_mac = {base: {name: most * macs[name] / macs[base] for name, most in named.items()}
               for base, named in PER_MAC.items()}  # fmt: skip
    return {base: {**TARGETS.get(base, {}), **per_mac.get(base, {})} for base in {**TARGETS, **per_mac}}


@torch.inference_mode()
def main(rounds: int, folder: Path | None, only: list[str], place: Place, file: Path) -> None:
    check_device(place.device)
    torch.set_num_threads(THREADS)
    set_precision(place.dtype)
    processor.keep_memory()

    def wanted(name: str) -> bool:
        return not only or name in only

    for base, named in targets().items():
        if chosen := {name: most for name, most in named.items() if wanted(name)}:
            calls = {name: place.network(name) for name in (base, *chosen)}
            append(compare(calls, base, chosen, rounds, place), file)
            if place == Place():
                append([scan_share(name, calls[name], SCANNING[name]) for name in chosen if name in SCANNING], file)
    name, dense, most, batch = DENSE
    if wanted(name):
        several = replace(place, batch=max(batch, place.batch))
        calls = {each: several.network(each) for each in (dense, name)}
        append(compare(calls, dense, {name: most}, rounds, several), file)
    for name in filter(wanted, OFFICIAL if folder else ()):
        assert folder
        if theirs := place.official(folder, name):
            base, size = f"official {presets.find(name).label}", presets.find(name).resolution
            calls = {base: theirs, name: place.network(name)}
            append(compare(calls, base, {name: 1.0}, rounds, place, size), file)
    for name, (base, size) in DIFFUSERS.items():
        if wanted(name):
            calls = {base: place.network(base, size), name: place.network(name, size)}
            append(compare(calls, base, {name: 1.0}, rounds, place, size), file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="forwards of each network; 25")
    parser.add_argument("--official", type=Path, help="folder with clones of the authors' repositories")
    parser.add_argument("--only", nargs="*", default=[], help="networks of ours, such as jit-b16; all of them")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="numbers of weights and products; fp32")
    parser.add_argument("--batch", type=int, default=1, help="images at once; 1")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("model-speed.jsonl"), help="records file")
    options = parser.parse_args()
    place = Place(options.device, options.dtype, options.batch)
    main(options.rounds, options.official, options.only, place, options.out)
