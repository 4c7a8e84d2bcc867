"""What a training run takes on a named GPU at a stated share of its ceiling, and what sources print of that."""

from __future__ import annotations

from dataclasses import dataclass

# Multiply-adds per second that the maker names for dense products: half its FLOPS.
CEILINGS = {
    "v100-fp32": 15.7e12 / 2,
    "v100-fp16": 125e12 / 2,
    "a100-tf32": 156e12 / 2,
    "a100-bf16": 312e12 / 2,
    "h100-bf16": 989e12 / 2,
    "h200-bf16": 989e12 / 2,
}
DAY = 86_400


@dataclass(frozen=True)
class TrainingClaim:
    """`days` of one GPU, whose ceilings are those that begin with its name, for so many iterations of a model at a
    resolution; `iterations` None where the source names none."""

    model: str
    resolution: int
    gpu: str
    days: float
    iterations: int | None
    batch: int
    source: str


CLAIMS = (
    TrainingClaim("dit-xl2", 256, "v100", 950, 7_000_000, 256, "a survey of DiT (July 2025)"),
    TrainingClaim("dit-xl2", 512, "v100", 1733, 3_000_000, 256, "a survey of DiT (July 2025)"),
    TrainingClaim("pixart-xl2", 512, "a100", 675, None, 0, "a survey of DiT (July 2025)"),
)


def days(macs_per_image: int, iterations: int, batch: int, ceiling: float, mfu: float) -> float:
    """Of one device, for steps that multiply so much for each image."""
    return macs_per_image * iterations * batch / (ceiling * mfu) / DAY


def implied(macs_per_image: int, claim: TrainingClaim) -> dict[str, float]:
    """By each ceiling of the claim's GPU the share of it that the claim needs; above 1 it cannot be."""
    assert claim.iterations is not None
    rate = macs_per_image * claim.iterations * claim.batch / (claim.days * DAY)
    return {name: rate / top for name, top in CEILINGS.items() if name.startswith(claim.gpu)}
