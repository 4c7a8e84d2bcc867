"""What four surveys of July 2025, and two papers, say in sentences, answered from their own tables and from counts."""

from __future__ import annotations

from itertools import pairwise

from dimbench import presets
from dimbench.counting import kept
from dimbench.papers import gpu_days
from dimbench.papers import printed as tables
from dimbench.papers.sentences import Answer, Holds, Sentence, SentenceKind, holds

DIT, UDIT, MMDIT, DIMSUM = (f"a survey of {name} (July 2025)" for name in ("DiT", "U-DiT", "MMDiT", "DiMSUM"))
OF_MMDIT = "survey-mmdit-1"
H100 = gpu_days.CEILINGS["h100-bf16"]
IMAGE = 2 * 250  # passes of 250 guided steps


def networks() -> list[tuple[str, int]]:
    """What is counted for them."""
    names = ("dit-xl2", "dit-l2", "dit-l8", "dit-b2", "dit-b4", "dit-xl2-incontext", "udit-b", "uvit-h2", "dimsum-l2")
    return [("dit-xl2", 512), *((name, 256) for name in names)]


def _giga(name: str) -> float:
    return kept.sums(name, 256).macs("macs") / 1e9


def _cell(table: str, label: str, quantity: str) -> float:
    """A figure as a table prints it."""
    found = tables.find(table)
    return float(found.printed(next(row for row in found.rows if row.label == label), quantity))


def _price(label: str) -> float:
    """GPU-days as the survey prints them, of hours 24 a day."""
    cell = next(row for row in tables.find("survey-dit-training").rows if row.label == label).cells[0]
    number, _, unit = cell.partition(" ")
    amount = float(number.removesuffix("k")) * (1000 if number.endswith("k") else 1)
    return amount / 24 if unit.endswith("hours") else amount


def _days(label: str, said: int) -> Answer:
    found = _price(label)
    return holds(abs(found - said) < 1, f"{24 * found:,.0f} h / 24 = {found:,.1f} days")


def _dollars() -> Answer:
    hours = 24 * _price("Stable Diffusion 1.5")
    return holds(True, f"US$ 600,000 / {hours:,.0f} h = US$ {600_000 / hours:.2f} an hour, which it takes for granted")


def _cheaper() -> Answer:
    share = _price("PixArt-alpha") / _price("Stable Diffusion 1.5")
    return holds(round(share, 1) == 0.1, f"{share:.1%} is left, {1 - share:.1%} saved; the two GPUs' names agree")


def _seconds_of_an_image() -> Answer:
    macs = IMAGE * kept.sums("dit-xl2", 512).macs("macs")
    return Answer(
        Holds.UNMEASURED,
        f"{macs / 1e12:.0f} TMACs in 250 guided steps are {macs / H100:.1f} s at an H100's ceiling in bf16: 20 s would "
        f"be {macs / H100 / 20:.1%} of it",
    )


def _seconds_of_attention() -> Answer:
    macs = kept.sums("dit-xl2", 512).by_operator["attention"] * (2048 / 512) ** 4
    return Answer(
        Holds.UNMEASURED,
        f"{macs / 1e12:.1f} TMACs a pass are {macs / H100:.3f} s at an H100's ceiling in bf16, of an image of 250 "
        f"guided steps {IMAGE * macs / H100:.1f} s: true of an image, not of a pass",
    )


def _halving_elsewhere() -> Answer:
    ours, theirs = _giga("dit-b2") / _giga("dit-b4"), _of_table("DiT-B/4", "DiT-B/2")
    return holds(theirs >= 4, f"B/4 to B/2 is x {ours:.2f} by our count; {OF_MMDIT} prints x {theirs:.2f}",
                 Holds.TWO_SOURCES)  # fmt: skip


def _of_table(label: str, halved: str) -> float:
    return _cell(OF_MMDIT, halved, "gflops") / _cell(OF_MMDIT, label, "gflops")


def _halving() -> Answer:
    labels = [row.label for row in tables.find(OF_MMDIT).rows]
    steps = {f"{a} to {b}": _of_table(a, b) for a, b in pairwise(labels) if a.split("/")[0] == b.split("/")[0]}
    below = {name: ratio for name, ratio in steps.items() if ratio < 4}
    worst = min(below, key=below.__getitem__, default="")
    found = f"{len(below)} of its {len(steps)} halvings are below x 4" + (
        f", {worst} x {below[worst]:.2f}" if worst else ""
    )
    ours = _giga("dit-b2") / _giga("dit-b4")
    return holds(not below, f"{found}; B/4 to B/2 is x {ours:.2f} by our count", Holds.OWN_TABLE)


def _unguided() -> Answer:
    printed = _cell("survey-dit-256", "DiT-XL/2", "fid")
    paper = tables.find("dit-2")
    rows = {float(fid): row.conditions["cfg"] for row in paper.rows if row.model and (fid := paper.printed(row, "fid"))}
    plain = next(fid for fid, cfg in rows.items() if cfg == 1)
    stated = "cfg" in next(row for row in tables.find("survey-dit-256").rows if row.label == "DiT-XL/2").conditions
    found = f"{printed} is the paper's row of cfg {rows[printed]:g}; without guidance it prints {plain}"
    return holds(stated, found, Holds.CONDITIONS)


def _dydit() -> Answer:
    left = 57.88 / 118.69
    return holds(
        round(1 - left, 2) == 0.51,
        f"57.88 / 118.69 = {left:.1%} left, so by {1 - left:.1%} and not to it; by masks, its code skips nothing",
    )


def _four_groups() -> Answer:
    sums = kept.sums("udit-b", 256)
    attention, whole = sums.by_operator["attention"], sums.macs("macs")
    left = 4 * (1 / 4) ** 2  # of the products of queries with keys and with values
    return holds(
        1 - left == 0.75,
        f"4 groups of a quarter of the tokens: 4 / 16 of the two products of attention, exactly; projections stay, so "
        f"that of U-DiT-B's whole pass {3 * attention / (whole + 3 * attention):.1%} is saved",
    )


def _stages() -> Answer:
    depth = presets.find("udit-t48-vanilla").config["depth"]
    levels = len(depth) // 2 + 1
    return holds(levels == 3, f"{len(depth)} stages on {levels} sizes: {levels - 1} down, {levels - 1} up")


def _skips() -> Answer:
    config, params = presets.find("uvit-h2").config, kept.sums("uvit-h2", 256).params["params"]
    width = config["embed_dim"]
    joined = config["depth"] // 2 * (2 * width + 1) * width
    printed = 501  # M, in table 1 of U-ViT
    return holds(
        round((params - joined) / 1e6) == printed,
        f"concatenated, then halved by a linear layer: U-ViT-H/2 has {params / 1e6:.1f} M parameters as it prints, "
        f"{joined / 1e6:.1f} M of them in these layers; added, it would have {(params - joined) / 1e6:.1f} M",
    )


def _sixth() -> Answer:
    theirs = _cell("survey-udit-1", "DiT-XL/2", "gflops") / _cell("survey-udit-1", "U-DiT-B", "gflops")
    ours = _giga("dit-xl2") / _giga("udit-b")
    return holds(round(ours) == 6, f"1 / {theirs:.1f} in its own table, 1 / {ours:.1f} by our count")


def _tokens() -> Answer:
    tokens = [(32 // patch) ** 2 for patch in (8, 2)]
    printed = [_cell_of("Tokens", label) for label in ("DiT-S/8", "DiT-S/2")]
    return holds(
        tokens[1] == 16 * tokens[0],
        f"{tokens[0]} to {tokens[1]} at 256 pixels; its table has {printed[0]:.0f} and {printed[1]:.0f}",
    )


def _cell_of(heading: str, label: str) -> float:
    table = tables.find(OF_MMDIT)
    index = [column.heading for column in table.columns].index(heading)
    return float(next(row for row in table.rows if row.label == label).cells[index])


def _not_much_better() -> Answer:
    params = _cell(OF_MMDIT, "DiT-L/8", "params") / _cell(OF_MMDIT, "DiT-B/4", "params")
    better = 1 - _cell(OF_MMDIT, "DiT-L/8", "fid") / _cell(OF_MMDIT, "DiT-B/4", "fid")
    found = (
        f"x {params:.2f} the parameters holds, but its FIDs are {better:.0%} apart; Gflops {_giga('dit-l8'):.2f} and "
        f"{_giga('dit-b4'):.2f} by our count"
    )
    return holds(better < 0.1, found, Holds.OWN_TABLE)


def _nearly_four() -> Answer:
    ours, theirs = _giga("dit-b2") / _giga("dit-b4"), _of_table("DiT-B/4", "DiT-B/2")
    return holds(ours < 4, f"x {theirs:.2f} in its own table; x {ours:.2f} by our count, which is more than 4 times")


def _in_context() -> Answer:
    more = _giga("dit-xl2-incontext") / _giga("dit-xl2") - 1
    return holds(more < 0.02, f"{more:+.2%} over adaLN-Zero by our count")


def _cross_attention() -> Answer:
    more = _giga("dit-xl2-crossattn") / _giga("dit-xl2") - 1
    return holds(round(more, 2) in (0.15, 0.16), f"{more:+.1%} over adaLN-Zero by our count")


def _captions() -> Answer:
    share = 33.5 / 27.2 - 1
    return holds(round(share, 2) == 0.23, f"33.5 / 27.2 = {share:+.1%}; the table's own values are not checkable here")


def _about_as_many() -> Answer:
    ours, dit = (kept.sums(name, 256).params["params"] / 1e6 for name in ("dimsum-l2", "dit-l2"))
    return holds(abs(ours / dit - 1) < 0.05 and ours < 1000, f"{ours:.1f} M, DiT-L/2 {dit:.1f} M")


def _state_of_the_art() -> Answer:
    fids = {row.label: float(row.cells[0]) for row in tables.find("survey-dit-512").rows}
    best = min(fids, key=fids.__getitem__)
    found = f"{best} has {fids[best]} in the same table; of diffusion models it is the lowest"
    return holds(best == "DiT-XL/2", found, Holds.OWN_TABLE)


def _moe() -> Answer:
    preset = presets.find("ditmoe-g2-16e2a")
    return Answer(
        Holds.CONDITIONS, f"the abstract's 1.80 is of 512 pixels; the published file is of {preset.resolution}"
    )


def _half() -> Answer:
    share = 64.53 / _giga("dit-xl2")
    return holds(round(share, 2) == 0.5, f"{share:.1%}: 64.53 G counted on its own code, which is not in dimbench")


def _a_twentieth() -> Answer:
    large, small = (kept.sums(name, 1024).params["params"] / 1e9 for name in ("flux1-dev", "sana-0.6b"))
    return holds(round(large / small) == 20, f"{large:.1f} B of FLUX.1-dev are {large / small:.1f} times {small:.2f} B")


def _unknown(why: str) -> Answer:
    return Answer(Holds.UNKNOWN, why)


TRAINING, FLOPS = "dimbench table survey-dit-training", "dimbench flops"
A, C, T, S = SentenceKind.ARITHMETIC, SentenceKind.COUNT, SentenceKind.OWN_TABLE, SentenceKind.STRUCTURE

SENTENCES = (
    Sentence(A, DIT, "SD 1.5: 150k A100-hours are about 6,250 GPU-days",
             lambda: _days("Stable Diffusion 1.5", 6250), TRAINING),
    Sentence(A, DIT, "SD 1.5: they cost about US$ 600k", _dollars, TRAINING),
    Sentence(A, DIT, "Seaweed-7B: 665k H100-hours are about 27,708 GPU-days", lambda: _days("Seaweed-7B", 27_708),
             TRAINING),
    Sentence(A, DIT, "PixArt-alpha was trained about 90 % cheaper than SD 1.5", _cheaper, TRAINING, ("pixart-xl2",)),
    Sentence(SentenceKind.SPEED, DIT, "An image of 512 pixels takes a fast GPU more than 20 s", _seconds_of_an_image,
             "dimbench bench dit-xl2 --resolution 512 --steps 250 --cfg --device cuda", ("dit-xl2",)),
    Sentence(SentenceKind.SPEED, DIT, "At 2K attention alone takes several seconds", _seconds_of_attention,
             f"{FLOPS} dit-xl2 --resolution 2048", ("dit-xl2",)),
    Sentence(SentenceKind.TWO_SOURCES, DIT, "A patch halved: 4 times the tokens, at least 4 times the Gflops",
             _halving_elsewhere, f"{FLOPS} dit-b4 dit-b2", ("dit-b2", "dit-b4")),
    Sentence(SentenceKind.CONDITIONS, DIT, "DiT-XL/2 at 256: FID 2.27", _unguided, "dimbench table dit-2",
             ("dit-xl2",)),
    Sentence(SentenceKind.CONDITIONS, DIT, "DiT-MoE: FID 1.80", _moe, "dimbench list ditmoe", ("ditmoe-g2-16e2a",)),
    Sentence(A, DIT, "DyDiT reduces DiT-XL's FLOPs by 51 %", _dydit, "dimbench cost claims", ("dydit-xl2-0.5",)),
    Sentence(SentenceKind.SPEED, DIT, "ADiT infers more than 10 times as fast",
             lambda: _unknown("no such network in dimbench"), "dimbench list"),
    Sentence(SentenceKind.SPEED, DIT, "muP makes DiT-XL/2 converge 2.9 times as fast",
             lambda: _unknown("it takes a training of each"), "dimbench cost train dit-xl2 --iterations 7000000"),
    Sentence(T, DIT, "DiT-XL/2 at 512 is the new state of the art (3.04)", _state_of_the_art,
             "dimbench table survey-dit-512", ("dit-xl2",)),
    Sentence(C, UDIT, "U-DiT-B is better than DiT-XL/2 at a sixth of its cost", _sixth, f"{FLOPS} udit-b dit-xl2",
             ("udit-b", "dit-xl2")),
    Sentence(C, UDIT, "Attention in 4 groups of a quarter of the tokens saves 75 %", _four_groups,
             f"{FLOPS} udit-b --breakdown operator", ("udit-b",)),
    Sentence(S, UDIT, "On a latent of 32 x 32: 3 sizes, 2 down-samplings", _stages,
             "dimbench params udit-b --breakdown", ("udit-b",)),
    Sentence(S, UDIT, "U-ViT's skips add shallow outputs to deep inputs", _skips, "dimbench params uvit-h2 --breakdown",
             ("uvit-h2",)),
    Sentence(T, MMDIT, "A patch halved: at least 4 times the Gflops", _halving, f"dimbench table {OF_MMDIT}",
             ("dit-b2", "dit-b4")),
    Sentence(A, MMDIT, "Patch 8 to 2: 16 times the tokens", _tokens, f"dimbench table {OF_MMDIT}",
             ("dit-s2", "dit-s8")),
    Sentence(T, MMDIT, "L/8 has 3.5 times B/4's parameters at like Gflops, and a FID not much better", _not_much_better,
             f"dimbench table {OF_MMDIT}", ("dit-l8", "dit-b4")),
    Sentence(C, MMDIT, "B/4 to B/2: nearly 4 times the Gflops", _nearly_four, f"{FLOPS} dit-b4 dit-b2",
             ("dit-b2", "dit-b4")),
    Sentence(C, MMDIT, "Conditioning in context costs nearly no Gflops", _in_context,
             f"{FLOPS} dit-xl2 dit-xl2-incontext", ("dit-xl2-incontext",)),
    Sentence(C, MMDIT, "Conditioning by cross-attention costs about 15 % more Gflops", _cross_attention,
             f"{FLOPS} dit-xl2 dit-xl2-crossattn", ("dit-xl2-crossattn",)),
    Sentence(A, MMDIT, "Captions by DALL-E 3's recipe: 27.2 to 33.5 is + 23 %", _captions, "33.5 / 27.2"),
    Sentence(A, MMDIT, "Captions: 95 synthetic ones to 5 original ones",
             lambda: _unknown("it takes a training of each"), "-"),
    Sentence(C, "FCDM, abstract", "FCDM-XL needs 50 % of DiT-XL/2's FLOPs", _half, f"{FLOPS} dit-xl2"),
    Sentence(C, "Sana, abstract", "Sana-0.6B is 20 times smaller than Flux-12B", _a_twentieth,
             "dimbench params flux1-dev sana-0.6b", ("sana-0.6b", "flux1-dev")),
    Sentence(C, DIMSUM, "DiMSUM-L/2 has about as many parameters as DiT, below a billion", _about_as_many,
             "dimbench params dimsum-l2 dit-l2", ("dimsum-l2", "dit-l2")),
)  # fmt: skip
