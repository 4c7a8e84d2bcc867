"""The counts that ship: of every preset at its own size, at those of the papers' figures and of the plots, and of the
runs of which papers print what a method saves.

Run from the root of the checkout after a change to anything that decides a count: python results/kept_counts.py
"""

from __future__ import annotations

from dimbench import presets
from dimbench.counting import kept
from dimbench.papers import claims, published, saved_claims, speed_claims, survey_sentences
from dimbench.progress import track


def wanted() -> list[tuple[str, int]]:
    """Models of ours with the resolutions that are asked for."""
    pairs = [(preset.name, preset.resolution) for preset in presets.all_presets().values()]
    pairs += [(claim.row.model, claim.row.resolution) for claim in claims.gather() if claim.row.model]
    pairs += [(fid.model, fid.resolution) for fid in (*published.fids(), *presets.recipes().values())]
    pairs += [*survey_sentences.networks(), *speed_claims.networks()]
    return list(dict.fromkeys(pairs))


def main() -> None:
    counted = [(name, resolution, kept.sums(name, resolution)) for name, resolution in track(wanted(), "counting")]
    runs = [
        (run.model, run.resolution, run.settings, run.macs()) for run in track(saved_claims.runs(), "counting runs")
    ]
    kept.write(counted, runs, kept.SHIPPED)
    print(f"{len(counted) + len(runs)} counts are in {kept.SHIPPED.name}")


if __name__ == "__main__":
    main()
