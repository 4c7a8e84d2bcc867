"""Records of what training costs and of what sources claim of costs."""

from __future__ import annotations

from functools import partial

from dimbench import names
from dimbench.backbone import Backbone, find
from dimbench.counting.training_cost import Loss, training_step
from dimbench.diffusion.process import find_process, mean_loss
from dimbench.papers import gpu_days, saved_claims
from dimbench.progress import track
from dimbench.results import Record


def of_training(found: Backbone, iterations: int, batch: int, gpu: str = "a100-bf16", mfu: float = 0.4) -> Record:
    """Multiply-adds of a training step by trace, with activations kept or checkpointed, and days of one GPU for so many
    steps at the share `mfu` of its ceiling, of gpu_days.CEILINGS. UsageError for an unknown one."""
    ceiling = names.find(gpu, gpu_days.CEILINGS, "ceiling of a GPU")
    step = training_step(found, loss=_loss(found))
    conditions = {
        **found.conditions, "iterations": iterations, "batch": batch, "gpu": gpu, "ceiling": ceiling, "mfu": mfu
    }  # fmt: skip
    metrics: dict[str, float | None] = {"forward_macs": step.forward}
    for variant, macs in {"none": step.whole, **step.checkpointed}.items():
        metrics[f"step_macs_{variant}"] = macs
        metrics[f"gpu_days_{variant}"] = gpu_days.days(macs, iterations, batch, ceiling, mfu)
    of = "its loss" if found.diffusion else "its output, for no loss of it is known"
    details = {"of": of, "not_counted": step.not_counted}
    return Record("cost", found.name, conditions, metrics, details=details)


def of_claims() -> list[Record]:
    """What sources print of GPU-days and of what methods save, each beside our count."""
    records = []
    for days in track(gpu_days.CLAIMS, "counting training"):
        needs: dict[str, float] = {}
        if days.iterations:
            network = find(days.model, days.resolution)
            needs = gpu_days.implied(training_step(network, loss=_loss(network)).whole, days)
        steps = f"{days.iterations:,}" if days.iterations else saved_claims.NOT_STATED
        said = {"printed": f"{days.days:g} {days.gpu.upper()}-days", "steps": steps, "source": days.source}
        metrics = {"claimed_days": days.days, **{f"needs_{name}": share for name, share in needs.items()}}
        records.append(Record("cost", days.model, {"resolution": days.resolution}, metrics, details=said))
    for saved in track(saved_claims.CLAIMS, "counting methods"):
        how = {"resolution": saved.run.resolution, **saved.run.settings}
        said = {"paper": saved.paper, "setting": saved.setting, "printed": saved.printed, "source": saved.source}
        share = {"executed_share": saved_claims.executed(saved), "printed_share": saved.left}
        records.append(Record("cost", saved.run.model, how, share, details=said))
    return records


def _loss(found: Backbone) -> Loss | None:
    """That a network is trained on, None where nobody said."""
    return partial(mean_loss, find_process(found.diffusion)) if found.diffusion else None
