"""One row from the bare device to its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from dimbench import methods, processor, results, stats
from dimbench.backbone import Backbone
from dimbench.bench import ceilings, devices, doubts, energy, hardware, memory, nvml, operator_times, roofline, timing
from dimbench.bench import subject as subjects
from dimbench.bench.rows import Row
from dimbench.bench.subject import Cost, Subject, weights_of
from dimbench.bench.timing import OnProgress, Rules, Timed
from dimbench.errors import DimbenchError
from dimbench.kernels import backends
from dimbench.sampling import precision
from dimbench.sampling.graph import captured
from dimbench.sampling.image_cost import named

Send = Callable[..., None]

DECODINGS = 5  # timed alone, to say how much of a run they are


class Measuring:
    """Measures `subject`, the row's own where None.

    Sends "start" with what is known so far, again when more is, then "done" with all of it, or "too big".
    """

    def __init__(self, row: Row, send: Send, on_progress: OnProgress, subject: Backbone | None = None) -> None:
        assert isinstance(row.batch, int)
        self.row = row
        self.batch = row.batch
        self.send = send
        self.on_progress = on_progress
        self.subject = subject or subjects.found(row)
        precision.check_device(row.device)
        self.host_before = hardware.host()
        self.device = devices.find(row.device, results.describe_machine()["processor"])
        self.gpu_states = [self.device.gpu.state()] if self.device.gpu else []
        if row.threads:
            torch.set_num_threads(row.threads)
        precision.set_precision(row.dtype)
        torch.backends.cudnn.benchmark = True  # one shape per process: its search belongs to the first call

    def run(self) -> None:
        conditions = self._conditions()
        model = self.subject.name
        self.send("start", model=model, conditions=conditions, metrics={})
        cost = subjects.cost(self.row, self.subject, self.batch)
        conditions |= self._foreseen(cost)
        self.send("start", model=model, conditions=conditions, metrics={"macs": cost.macs, "params": cost.params})
        if not self.device.on_gpu and not self._leave_room(cost):
            return
        with backends.use(self.row.kernel), backends.watch() as kernels:
            subject = subjects.build(self.row, self.subject, self.batch)
            held = self.device.probe.used()
            first = self._first_calls(subject)
            if subject.executed:
                executed = subject.executed()
                cost = replace(cost, macs_timed=executed.macs("macs"), by_numbers=executed.by_numbers)
            self.device.probe.reset()  # what the first call needed to search or to compile does not count
            call = captured(subject.call)[0] if self.row.cuda_graph else subject.call
            rules = Rules.of(self.row.device, self.row.budget)
            timed = timing.measure(call, self.device.clock, rules, self._watch)
            decoding = self._decoding(subject)
            launches = timing.launch_share(call, self.device.clock) if self.device.on_gpu else None
            peaks = memory.peaks(self.device.probe, held)
            joules = self._joules(call)
            operators = self._operators(call)
        summary = stats.summarise(timed.seconds)
        found = doubts.of_series(timed, summary, rules.target) + doubts.of_launches(launches)
        found += doubts.of_host(self.host_before, hardware.host(), torch.get_num_threads())
        found += doubts.of_gpu(self.gpu_states)
        found += doubts.of_methods(methods.parse(self.row.methods))
        self.send(
            "done",
            model=model,
            conditions={**conditions, "kernel": _said(kernels), "form": subject.form, "sampler": subject.sampler},
            metrics={
                **first,
                **self._speed(timed, summary, cost),
                **self._memory(peaks, cost),
                **decoding,
                "joules_per_image": None if joules is None else joules / self.batch,
            },
            samples={"seconds": timed.seconds},
            details={
                **self._details(timed, summary, peaks),
                "launch_share": launches,
                "training_passes": cost.macs_timed // cost.macs if self.row.mode == "train" and cost.macs else None,
                "weights": subject.notes,
                "counted_on": self.batch if subject.executed else None,
                "operators": operators,
            },
            doubts=[asdict(doubt) for doubt in found],
            environment={**results.describe_machine(), **self._environment()},
        )

    def _foreseen(self, cost: Cost) -> dict[str, Any]:
        """The conditions that a finished row knows from its run: a row that does not fit must have the same."""
        with backends.use(self.row.kernel):
            kernels = backends.foreseen(cost.operators, precision.DTYPES[self.row.dtype], self.row.device)
        sampler = subjects.settings(self.row, self.subject).sampler if self.row.mode == "sample" else None
        return {"kernel": _said(kernels), "form": cost.form, "sampler": sampler}

    def _conditions(self) -> dict[str, Any]:
        """All that has to be equal for two rows to be compared, as far as the row says it."""
        row = self.row
        return {
            "mode": row.mode,
            "device": row.device.partition(":")[0],
            "device_name": self.device.name,
            "dtype": row.dtype,
            "batch": self.batch,
            **self.subject.conditions,
            "compile": row.compile,
            "cuda_graph": row.cuda_graph,
            "threads": torch.get_num_threads(),
            "steps": row.steps,
            "guided": row.cfg,
            "decoded": row.decode,
            "weights": weights_of(row, self.subject) or "random",
            **({"process": row.process} if row.process else {}),
            **methods.conditions(row.methods),
        }

    def _leave_room(self, cost: Cost) -> bool:
        """Whether the row fits into the memory this CPU has left; from then on it cannot take more."""
        available = self.host_before.available
        if available is None:
            return True
        needed = cost.weights + cost.activations
        if needed > available:
            seen = f"it needs about {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available, and it was not run"
            self.send("too big", doubt=asdict(doubts.too_big(seen)))
            return False
        memory.limit_process(available)
        return True

    def _first_calls(self, subject: Subject) -> dict[str, float | None]:
        """Seconds of the very first call and of the one that compiles."""
        self.on_progress("first call", 0.0, 0.0)
        clock, compiled = self.device.clock, None
        if subject.eager:
            first = timing.one_call(_checked(subject.eager), clock)
            compiled = timing.one_call(_checked(subject.call), clock)
        else:
            first = timing.one_call(_checked(subject.call), clock)
        return {"first_call_seconds": first, "compile_seconds": compiled}

    def _watch(self, phase: str, seconds: float, median: float) -> None:
        self.on_progress(phase, seconds, median)
        if self.device.gpu:
            self.gpu_states.append(self.device.gpu.state())

    def _decoding(self, subject: Subject) -> dict[str, float]:
        """Seconds per image of what decodes, alone."""
        if subject.decode is None:
            return {}
        self.on_progress("decoding", 0.0, 0.0)
        seconds = [timing.one_call(subject.decode, self.device.clock) for _ in range(DECODINGS)]
        return {"decode_seconds": stats.median(seconds) / self.batch}

    def _joules(self, call: timing.Call) -> float | None:
        if self.row.budget < energy.STEADY_SECONDS:
            return None
        self.on_progress("energy", 0.0, 0.0)
        return energy.joules_per_call(call, self.device.clock, self.device.joules)

    def _operators(self, call: timing.Call) -> dict[str, float] | None:
        """What decides the time of a row whose methods convert numbers."""
        if not any(method.converts for method in methods.parse(self.row.methods)):
            return None
        self.on_progress("operators", 0.0, 0.0)
        return operator_times.shares(call, self.device.on_gpu)

    def _speed(self, timed: Timed, summary: stats.Summary, cost: Cost) -> dict[str, float | None]:
        images = self.batch * timed.calls_per_second
        known = ceilings.load(self.device.name, self.device.threads)
        rate = known.rate({name or self.row.dtype: macs for name, macs in cost.by_numbers.items()}) if known else None
        work = cost.macs_timed * self.batch
        place = None
        if known and rate:
            place = roofline.position(work, 1 / timed.calls_per_second, cost.traffic, rate, known.bytes_per_second)
        return {
            "seconds": summary.median,
            "seconds_low": summary.low,
            "seconds_high": summary.high,
            "seconds_iqr": summary.iqr,
            "seconds_min": summary.minimum,
            "seconds_p90": summary.p90,
            "seconds_p99": summary.p99,
            "images_per_second": images,
            "calls_per_second": timed.calls_per_second,
            "macs": cost.macs,
            **({} if cost.decode_macs is None else {"decode_macs": cost.decode_macs}),
            "params": cost.params,
            "macs_per_second": cost.macs_timed * images,
            "peak_macs_per_second": rate,
            **named(cost.by_numbers),
            "mfu": place.utilisation if place else None,
            "matmul_share": cost.matmul_share,
            "macs_per_byte": work / cost.traffic,
            "ridge_macs_per_byte": place.ridge if place else None,
            "roof_share": place.roof_share if place else None,
        }

    def _memory(self, peaks: memory.Peaks, cost: Cost) -> dict[str, float | None]:
        states = self.gpu_states
        return {
            "peak_bytes": peaks.peak,
            "peak_reserved_bytes": peaks.reserved,
            "process_bytes": nvml.own_bytes(states[0], states[-1]) if states else None,
            "weights_bytes": cost.weights,
            "activation_bytes": peaks.activations,
        }

    def _memory_share(self, peaks: memory.Peaks) -> float | None:
        """The peak as a share of all that this row could have had."""
        if peaks.reserved is not None:
            return peaks.reserved / torch.cuda.get_device_properties(self.row.device).total_memory
        available = self.host_before.available
        return peaks.activations / available if available else None

    def _details(self, timed: Timed, summary: stats.Summary, peaks: memory.Peaks) -> dict[str, Any]:
        """How it was measured, and the state of the machine."""
        return {
            "stopped": timed.reason,
            "warm_up": asdict(timed.warm_up),
            "samples": summary.count,
            "outliers": asdict(summary.outliers),
            "memory_share": self._memory_share(peaks),
            "compiler": _compiler() if self.row.compile else None,
            "host": {"before": asdict(self.host_before), "after": asdict(hardware.host())},
            "gpu": [asdict(state) for state in (*self.gpu_states[:1], *self.gpu_states[-1:])],
        }

    def _environment(self) -> dict[str, Any]:
        gpu = self.device.gpu
        if not self.device.on_gpu:
            return {"keeps_memory": processor.keeps_memory()}
        return {"cuda": torch.version.cuda, "driver": gpu.driver if gpu else None}


def _said(kernels: Mapping[str, str]) -> str | None:
    return ", ".join(f"{operator} {name}" for operator, name in sorted(kernels.items())) or None


def _checked(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`call`, refusing an output that is not finite: such a network may take another time."""

    def checked() -> Tensor:
        output = call()
        if not output.isfinite().all():
            raise DimbenchError("the output is not finite; give --dtype bf16 or fp32, or other --weights")
        return output

    return checked


def _compiler() -> dict[str, int]:
    """Graphs, and what broke them apart."""
    from torch._dynamo.utils import counters

    return {"graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values())}
