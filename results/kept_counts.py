"""The counts that ship: of every preset at its own size, and at those of the papers' figures and of the plots.

Run from the root of the checkout after a change to anything that decides a count: python results/kept_counts.py
"""

from __future__ import annotations

from dimbench import presets
from dimbench.counting import kept
from dimbench.papers import claims, published, speed_claims, survey_sentences
from dimbench.progress import track


def wanted() -> list[tuple[str, int]]:
    """Models of ours with the resolutions that are asked for."""
    pairs = [(preset.name, preset.resolution) for preset in presets.all_presets().values()]
    pairs += [(claim.row.model, claim.row.resolution) for claim in claims.gather() if claim.row.model]
    pairs += [(fid.model, fid.resolution) for fid in published.fids()]
    pairs += [*survey_sentences.networks(), *speed_claims.networks()]
    return list(dict.fromkeys(pairs))


def main() -> None:
    counted = [(name, resolution, kept.sums(name, resolution)) for name, resolution in track(wanted(), "counting")]
    kept.write(counted, kept.SHIPPED)
    print(f"{len(counted)} counts are in {kept.SHIPPED.name}")


if __name__ == "__main__":
    main()
