"""What papers print that their methods save on a network, beside what the network executes at their setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dimbench.counting import kept
from dimbench.papers import speed_claims

NOT_STATED = "not stated"


@dataclass(frozen=True)
class ClaimedRun:
    """How an image is drawn; `sampler` None is the family's own."""

    model: str
    resolution: int
    steps: int
    cfg: float
    sampler: str | None = None
    methods: tuple[str, ...] = ()

    def macs(self) -> int:
        """Multiply-adds of an image by rule macs, as executed, without decoding."""
        return kept.run(self.model, self.resolution, self.settings, self.counted)

    def counted(self) -> int:
        """The same, counted now."""
        from dimbench import backbone
        from dimbench.sampling.image_cost import image_cost, settings_of

        found = backbone.find(self.model, self.resolution)
        how = settings_of(found, self.sampler, self.steps, self.cfg, self.methods)
        return image_cost(found, how, decoded=False).macs("macs")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its cost besides the network."""
        named = asdict(self)
        return {name: named[name] for name in ("steps", "cfg", "sampler", "methods")}


@dataclass(frozen=True)
class SavedClaim:
    """`printed` is what is left of the plain run's work or time, in the words of the `source`; `left` the share of
    multiply-adds that this makes, None where it says none. The run draws as its paper does, beside one of `plain`."""

    paper: str
    run: ClaimedRun
    printed: str
    source: str
    left: float | None = None
    plain: str = "dit-xl2"

    @property
    def beside(self) -> ClaimedRun:
        """The plain run."""
        run = self.run
        return ClaimedRun(self.plain, run.resolution, run.steps, run.cfg, run.sampler)

    @property
    def setting(self) -> str:
        """In few words."""
        run = self.run
        words = [f"{run.steps} steps", *([run.sampler] if run.sampler else []), f"cfg {run.cfg:g}", *run.methods]
        return ", ".join(words)


_DYDIT = "its repository; a formula over masks, and its code skips nothing"
_SKIP_DIT = "its repository, which states no setting; blocks within the fourth are cached, as in its code"
_PLAN = "its laboratory's page; settings of its repository, with a plan of ours, for theirs is found on weights"

CLAIMS = (
    SavedClaim("FORA", ClaimedRun("dit-xl2", 256, 250, 1.5, None, ("fora:every=3",)), "several times as fast",
               "its abstract; setting of its repository"),
    SavedClaim("TaylorSeer", ClaimedRun("dit-xl2", 256, 50, 1.5, "ddim", ("taylor:every=4,order=4",)),
               "3.57 times fewer FLOPs", "its repository, TaylorSeer-DiT.md", 1 / 3.57),
    SavedClaim("PTQ4DiT W8A8", ClaimedRun("dit-xl2", 256, 50, 1.5, None, ("fake-w8a8",)), NOT_STATED,
               "its repository, which rounds numbers and computes as before"),
    SavedClaim("DiTFastAttn", ClaimedRun("dit-xl2", 512, 50, 4.0, None, ("fast-attn:plan=fws,window=128",)),
               "the model's FLOPs to 35 %", _PLAN, 0.35),
    SavedClaim("DiTFastAttn, attention in one of ten steps",
               ClaimedRun("dit-xl2", 512, 50, 4.0, None, ("fast-attn:plan=fsssssssss",)),
               "the model's FLOPs to 35 %", _PLAN, 0.35),
    SavedClaim("Skip-DiT, inner blocks every second step",
               ClaimedRun("skip-dit-xl2", 256, 250, 1.5, None, ("deep:every=2,level=4",)),
               "1.5 to 2 times as fast", _SKIP_DIT, plain="skip-dit-xl2"),
    SavedClaim("Skip-DiT, inner blocks every third step",
               ClaimedRun("skip-dit-xl2", 256, 250, 1.5, None, ("deep:every=3,level=4",)),
               "1.5 to 2 times as fast", _SKIP_DIT, plain="skip-dit-xl2"),
    SavedClaim("DyDiT, lambda 0.5", ClaimedRun("dydit-xl2-0.5", 256, 250, 1.5), "57.88 of 118.69 GFLOPs", _DYDIT,
               57.88 / 118.69),
    SavedClaim("DyDiT, lambda 0.7", ClaimedRun("dydit-xl2-0.7", 256, 250, 1.5), "84.33 of 118.69 GFLOPs", _DYDIT,
               84.33 / 118.69),
)  # fmt: skip


def runs() -> list[ClaimedRun]:
    """What is counted for them, each once."""
    return list(dict.fromkeys(run for claim in CLAIMS for run in (claim.run, claim.beside)))


def executed(claim: SavedClaim) -> float:
    """Multiply-adds of an image as executed, as a share of the plain run's."""
    return claim.run.macs() / claim.beside.macs()


def measured(claim: SavedClaim, records: Sequence[Mapping[str, Any]]) -> list[speed_claims.Times]:
    """How many times as fast it was in records of `bench --steps`, both runs under equal conditions."""
    runs = (claim.run, claim.beside)
    fast, slow = ([record for record in records if _is_of(run, record)] for run in runs)
    return speed_claims.times(fast, slow, ("methods", "weights", "form"))


def _is_of(run: ClaimedRun, record: Mapping[str, Any]) -> bool:
    conditions = record["conditions"]
    asked = {"mode": "sample", "resolution": run.resolution, "steps": run.steps, "guided": run.cfg != 1}
    if record["model"] != run.model or not asked.items() <= conditions.items():
        return False
    from dimbench import methods

    return (conditions.get("methods") or []) == methods.conditions(run.methods).get("methods", [])
