from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import stats
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file, show_entries
from dimbench.errors import UsageError
from dimbench.progress import stepping
from dimbench.report.kernel_times import timings
from dimbench.report.tables import Table
from dimbench.results import Record

if TYPE_CHECKING:
    from dimbench.kernels.backends import Backends, Size


class KernelDtype(StrEnum):
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def run(
    operators: Annotated[
        list[str] | None, typer.Argument(help="Operators.", metavar="OPERATOR", show_default="all")
    ] = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Time the backends that can run, taking turns in one process.")
    ] = False,
    backward: Annotated[bool, typer.Option("--backward", help="Time the gradients, not the forward pass.")] = False,
    backend: Annotated[
        list[str] | None, typer.Option(help="Backend to time; may be repeated.", show_default="all that can run")
    ] = None,
    length: Annotated[
        list[int], typer.Option("--length", "-L", min=1, help="Positions per image; may be repeated.")
    ] = [256],  # noqa: B006  # read only
    channels: Annotated[int, typer.Option("--channels", "-E", min=1, help="Channels.")] = 1024,
    states: Annotated[int, typer.Option("--states", "-N", min=1, help="States per channel of the scan.")] = 16,
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 1,
    dtype: Annotated[KernelDtype, typer.Option(help="Type of what comes by position.")] = KernelDtype.FP32,
    device: Annotated[str, typer.Option(help="Where it runs: cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=options.MOST_THREADS, help="Threads of the CPU.", show_default="torch's choice, all cores"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of each backend; from 6 on with an interval.")] = 25,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """List the operators with their backends, and what keeps one from running here; --bench times them."""
    import torch

    from dimbench.kernels import backends

    if (backward or backend) and not bench:
        raise UsageError(f"{'--backward' if backward else '--backend'} was given without --bench; give both")
    chosen = _operators(operators or [])
    _check_device(device)
    if threads:
        torch.set_num_threads(threads)
    types = {KernelDtype.FP32: torch.float32, KernelDtype.BF16: torch.bfloat16, KernelDtype.FP16: torch.float16}
    sizes = [backends.Size(batch, each, channels, states, types[dtype], device) for each in length]
    if not bench:
        _list(chosen, sizes[0], form)
        return
    plans = [(operator, size, _runnable(operator, size, backend)) for operator in chosen for size in sizes]
    file = output_file(out)
    conditions = {"pass": "backward" if backward else "forward", "dtype": dtype.value, "rounds": rounds}
    records = []
    for operator, size, names in plans:
        records += _time(operator, size, names, conditions)
    emit(records, [timings(records)], file, form)


def _operators(names: Sequence[str]) -> list[Backends]:
    """Those of these names, or all."""
    from dimbench.kernels import backends

    known = backends.operators()
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no operator {unknown[0]!r}; known are {', '.join(known)}")
    return [known[name] for name in names or known]


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"torch cannot use the device {device!r} here; give --device cpu") from None


def _list(operators: Sequence[Backends], size: Size, form: options.Form) -> None:
    rows = []
    for operator in operators:
        inputs = operator.example(size).inputs
        runs = operator.backend_for(*inputs)
        for name in operator.names:
            reason = operator.why_not(name, *inputs)
            rows.append((operator.operator, name, "cannot" if reason else "runs" if name == runs else "can", reason))
    where = f"{size.device}, {str(size.dtype).removeprefix('torch.')}"
    note = f"The first that can runs; for a batch of {size.batch}, L {size.length}, E {size.channels}, N {size.states}."
    cells = [(operator, name, here, reason or "") for operator, name, here, reason in rows]
    table = Table(("operator", "backend", f"on {where}", "because"), cells, notes=(note,))
    names = ("operator", "backend", "here", "why_not")
    show_entries(lambda: [dict(zip(names, row, strict=True)) for row in rows], [table], form)


def _runnable(operator: Backends, size: Size, wanted: Sequence[str] | None) -> list[str]:
    """The backends to time, the one that runs first. UsageError where one was asked for that cannot."""
    inputs = operator.example(size).inputs
    for name in wanted or ():
        if name not in operator.names:
            raise UsageError(f"{operator.operator} has no backend {name!r}; known are {', '.join(operator.names)}")
        if reason := operator.why_not(name, *inputs):
            raise UsageError(f"kernel {name} cannot run {operator.operator} here: {reason}")
    names = wanted or [name for name in operator.names if operator.why_not(name, *inputs) is None]
    return sorted(set(names), key=lambda name: (name != operator.backend_for(*inputs), operator.names.index(name)))


def _time(operator: Backends, size: Size, names: Sequence[str], conditions: dict[str, Any]) -> list[Record]:
    """One record per backend and floor; ratios are to the first."""
    import torch

    from dimbench.bench import alternating as pairs
    from dimbench.bench import backend_calls as operators

    example = operator.example(size)
    backward = conditions["pass"] == "backward"
    usual = operator.backend_for(*example.inputs)
    calls = operators.backward_calls(example, names) if backward else operators.forward_calls(example, names, usual)
    what, rounds = f"{operator.operator} at L {size.length}", conditions["rounds"]
    with stepping(what, rounds) as progress, torch.inference_mode(not backward):
        seconds = pairs.alternate(calls, rounds, operators.clock(size.device), on_round=lambda k: progress(k + 1))
    device_name = torch.cuda.get_device_name(size.device) if size.device.startswith("cuda") else None
    records = []
    for name, samples in seconds.items():
        ratios = pairs.ratios(samples, seconds[names[0]])
        metrics = {
            **_with_interval("seconds", samples),
            **_with_interval("ratio", ratios),
            "seconds_per_token": stats.median(samples) / size.batch / size.length,
        }
        here = {
            "kernel": name,
            "base": names[0],
            **conditions,
            "batch": size.batch,
            "length": size.length,
            "channels": size.channels,
            "states": size.states,
            "device": size.device,
            "device_name": device_name,
            "threads": torch.get_num_threads(),
        }
        records.append(Record("kernels", operator.operator, here, metrics, samples={"seconds": samples}))
    return records


def _with_interval(name: str, samples: Sequence[float]) -> dict[str, float | None]:
    low, high = stats.median_interval(samples) or (None, None)
    return {name: stats.median(samples), f"{name}_low": low, f"{name}_high": high}
