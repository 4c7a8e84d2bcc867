"""What counts and short commands cost beside importing torch alone: rounds of fresh processes, all sides in each.

Run from the root of the checkout: python results/count_speed.py [ROUNDS]; it appends a record for each command to
results/count-speed.jsonl.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from dimbench import stats
from dimbench.results import Record, append

ALONE = "import torch"
NETWORK = """from torch import nn
class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 4, 3, padding=1))
    def forward(self, x, t, y):
        return self.layers(x)
"""
# What each may cost: as a multiple of importing torch, or in seconds of processor time.
WANTED = {
    "flops *": 0.4, "params *": 0.4, "audit": 0.4, "table dit-4": 0.4, "plot gflops-fid": 0.8,
    "flops my_model.py:MyNet": 1.3, "flops dit-xl2 (uncached)": 1.15,
}  # fmt: skip
WANTED_SECONDS = {"--help": 0.15, "list": 0.15, "report results/digits.jsonl": 0.15, "flops * (uncached)": 40}


def words(name: str, folder: Path, k: int) -> list[str]:
    """Of round `k`; what is uncached is a batch that nobody counted."""
    if name == ALONE:
        return ["-c", name]
    said = name.removesuffix(" (uncached)").replace("my_model.py", str(folder / "my_model.py")).split()
    out = {"plot": ["--out", str(folder / "plot.png")], "flops": ["--out", os.devnull], "params": ["--out", os.devnull]}
    fresh = ["--batch", str(2 + k)] if "uncached" in name else []
    return ["-m", "dimbench", *said, *fresh, *out.get(said[0], [])]


def run(command: list[str]) -> tuple[float, float, int]:
    """Wall and processor seconds and peak resident bytes of one process."""
    started = perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    child = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{command} failed")
    return perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main(rounds: int) -> None:
    names = [ALONE, *WANTED, *WANTED_SECONDS]
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
    load = os.getloadavg()[0]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once, not in each process
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["DIMBENCH_CACHE"] = str(folder / "cache")
        (folder / "my_model.py").write_text(NETWORK)
        for name in names:  # files into the page cache, modules compiled
            run(words(name, folder, rounds))
        for k in range(rounds):
            for name in names:
                taken[name].append(run(words(name, folder, k)))
    records = [record(name, taken, load) for name in names[1:]]
    append(records, Path(__file__).with_name("count-speed.jsonl"))
    for each in records:
        m, what = each.metrics, "seconds of processor time" if each.model in WANTED_SECONDS else "x import torch"
        figure = "cpu_seconds" if each.model in WANTED_SECONDS else "ratio"
        low, high = m[f"{figure}_low"], m[f"{figure}_high"]
        between = "(no interval)" if low is None or high is None else f"({low:.3f} to {high:.3f})"
        print(f"{each.model}: {m[figure]:.3f} {between} {what}, wanted at most {m['wanted']:g}")


def record(name: str, taken: dict[str, list[tuple[float, float, int]]], load: float) -> Record:
    wall, cpu, peak = zip(*taken[name], strict=True)
    alone, _, alone_peak = zip(*taken[ALONE], strict=True)
    ratios = [ours / theirs for ours, theirs in zip(wall, alone, strict=True)]
    metrics: dict[str, float | None] = {"wanted": WANTED.get(name) or WANTED_SECONDS[name]}
    for metric, series in (("ratio", ratios), ("cpu_seconds", cpu)):
        low, high = stats.median_interval(series) or (None, None)
        metrics |= {metric: stats.median(series), f"{metric}_low": low, f"{metric}_high": high}
    metrics["bytes_above_import_torch"] = stats.median(peak) - stats.median(alone_peak)
    samples = {"seconds": list(wall), "seconds_import_torch": list(alone), "cpu_seconds": list(cpu)}
    return Record("count-speed", name, {"rounds": len(wall), "load_before": round(load, 1)}, metrics, samples=samples)


if __name__ == "__main__":
    main(max(6, int(sys.argv[1])) if len(sys.argv) > 1 else 9)  # fewer give no interval
