"""Which operators a call spends its time in, by torch's profiler: those that run on the device themselves, not their
callers."""

from __future__ import annotations

from dimbench.bench.timing import Call

MOST = 5


def shares(call: Call, on_gpu: bool) -> dict[str, float]:
    """The operators that take most of the device's time in one call, as shares of all, the largest first."""
    import torch
    from torch.profiler import ProfilerActivity

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=kinds) as seen:
        call()
    spent = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in seen.key_averages()
    }
    total = sum(spent.values())
    largest = sorted(spent, key=lambda name: -spent[name])[:MOST]
    return {name.removeprefix("aten::"): spent[name] / total for name in largest if spent[name]}
