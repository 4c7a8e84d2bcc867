"""What papers print that their methods save on a network, beside what the network executes at their setting."""

from __future__ import annotations

from dataclasses import dataclass

from dimbench import backbone
from dimbench.sampling.image_cost import image_cost, settings_of

NOT_STATED = "not stated"


@dataclass(frozen=True)
class SavedClaim:
    """`printed` is what is left of the plain run's work, in the words of the paper or a survey; the setting is a run of
    `model` by the methods `with_`, beside one of `plain`."""

    paper: str
    model: str
    plain: str
    resolution: int
    steps: int
    cfg: float
    with_: tuple[str, ...]
    printed: str
    source: str


CLAIMS = (
    SavedClaim("FORA", "dit-xl2", "dit-xl2", 256, 250, 1.5, ("fora:every=3",), NOT_STATED, "arXiv 2407.01425"),
    SavedClaim("TaylorSeer", "dit-xl2", "dit-xl2", 256, 50, 1.5, ("taylor:every=3",), NOT_STATED, "arXiv 2503.06923"),
    SavedClaim("PTQ4DiT W8A8", "dit-xl2", "dit-xl2", 256, 50, 1.5, ("int8",), NOT_STATED, "arXiv 2405.16005"),
    SavedClaim("DiTFastAttn", "dit-xl2", "dit-xl2", 512, 50, 1.5, ("fast-attn:plan=fws,window=128",), NOT_STATED,
               "arXiv 2406.08552; a plan of ours, for theirs is found on weights"),
    SavedClaim("Skip-DiT, cached", "skip-dit-xl2", "dit-xl2", 256, 250, 1.5, ("deep:every=2",),
               "infers 1.5 to 2 times as fast", "a survey of DiT (July 2025)"),
    SavedClaim("DyDiT, lambda 0.5", "dydit-xl2-0.5", "dit-xl2", 256, 250, 1.5, (), "57.88 of 118.69 GFLOPs, 0.488",
               "its repository; a formula over masks, and its code skips nothing"),
    SavedClaim("DyDiT, lambda 0.7", "dydit-xl2-0.7", "dit-xl2", 256, 250, 1.5, (), "84.33 of 118.69 GFLOPs, 0.711",
               "its repository; a formula over masks, and its code skips nothing"),
)  # fmt: skip


def executed(claim: SavedClaim) -> float:
    """Multiply-adds of an image by rule macs, as executed, as a share of the plain run's; without decoding."""
    macs = [
        image_cost(found, settings_of(found, None, claim.steps, claim.cfg, methods), decoded=False).macs("macs")
        for found, methods in (
            (backbone.find(claim.model, claim.resolution), claim.with_),
            (backbone.find(claim.plain, claim.resolution), ()),
        )
    ]
    return macs[0] / macs[1]
