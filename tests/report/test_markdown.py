from __future__ import annotations

from dimbench import units
from dimbench.report import markdown
from dimbench.report.findings import gather
from tests.report.records import MACHINE, bench, compare, every_outcome, exact


def render(*records: dict) -> str:
    return markdown.render(gather(records))


def test_what_was_compared_and_measured() -> None:
    records = [
        compare("slower", 1.123, confirmed=True),
        compare("unclear", 1.04, width=0.06, model="udit-l", batch=8, reason="the interval is wide"),
        exact("changed", 118621421568, 118621421569),
        exact("equal", 675129632, 675129632, "params"),
        exact("equal", 4096, 4096, "params", "udit-l"),
        bench(seconds=0.04),
        bench("udit-l", None, batch=64),
    ]
    assert render(*records) == (
        """\
**1 regression confirmed, 1 exact metric changed, 1 unclear, 2 exact metrics unchanged.**

| model | metric | change | verdict | 95 % interval | margin | base | new | conditions |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |
| dit-xl2 | time | +12.3 % | slower, confirmed | +10.3 % to +14.3 % | 5.0 % | 40.00 ms | 44.92 ms | batch 1 |
| dit-xl2 | MACs | +1 | changed |  |  | 118,621,421,568 | 118,621,421,569 | batch 1 |
| udit-l | time | +4.0 % | unclear: the interval is wide | -2.0 % to +10.0 % | 5.0 % | 40.00 ms | 41.60 ms | batch 8 |

Conditions, where they apply: device cpu, device name Xeon, dtype fp32, resolution 256.

<details><summary>Exact metrics unchanged (2)</summary>

- parameters: dit-xl2, udit-l

</details>

#### Measured by bench

| model | conditions | time | 95 % interval | IQR | images/s | peak bytes |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
| dit-xl2 | batch 1 | 40.00 ms | 39.64 ms to 40.36 ms | 760.0 µs | 25 | 2.70 GB |
| udit-l | batch 64 | not measured |  |  | not measured | not measured |

Conditions, where they apply: device cpu, device name Xeon, dtype fp32, resolution 256.

#### Environments differ

| entry | base | new |
| --- | --- | --- |
| commit | aaaa | bbbb |

<details><summary>Environment</summary>

| entry | value |
| --- | ---: |
| dimbench | 0.1.0 |
| torch | 2.15.0 |
| processor | Xeon |
| cpus | 2 |

</details>

<details><summary>Warnings (1)</summary>

- udit-l: Out of memory: batch 64 needs more than 8.00 GB; give a smaller --batch.

</details>
"""
    )


def test_the_same_rows_are_folded_and_every_other_one_is_not() -> None:
    open_rows, folded = render(*every_outcome()).split("<details><summary>Same (1)</summary>")
    assert "| 5.0 % | 40.00 ms | 40.08 ms |" in folded.split("</details>")[0]
    assert open_rows.count("\n| ") == 2 + 7


def test_what_two_commands_counted_is_told_apart() -> None:
    rows = [exact("changed", 1000, 2500) for _ in range(2)]
    rows[1]["details"] = {**rows[1]["details"], "of": "flops"}
    text = render(*rows)
    assert "| MACs, by bench |" in text
    assert "| MACs, by flops |" in text


def test_a_long_table_is_folded_and_cut() -> None:
    text = render(*(bench(batch=batch) for batch in range(1, markdown.MOST_ROWS + 11)))
    assert f"<summary>Measured by bench ({markdown.MOST_ROWS + 10})</summary>" in text
    assert text.count("| batch ") == markdown.MOST_ROWS
    assert "10 more rows are left out here; --format html shows them." in text
    assert len(text) < 65_536


def test_environments_of_measurements_differ_by_value() -> None:
    text = render(bench(), bench(run=1, environment={**MACHINE, "torch": "2.14.0"}))
    assert "#### Environments of the records differ\n\n| entry | values |" in text
    assert "| torch | 2.15.0; 2.14.0 |" in text


def test_a_record_cannot_write_markup_of_its_own() -> None:
    text = render(bench("a|b <script> [x](y) `c` *d*\n# e"))
    assert r"| a\|b &lt;script&gt; \[x\](y) \`c\` \*d\* # e |" in text


def fid(model: str, metrics: dict, **conditions: object) -> dict:
    given = {"num_images": 1000, "seed": 0, **conditions}
    return {**bench(model), "command": "fid", "conditions": given, "metrics": metrics, "samples": {}}


def test_image_quality_of_unlike_protocols_shares_no_table() -> None:
    text = render(
        fid("a", {"fid": 1.0}, weights="1"),
        fid("a", {"fid": 2.0}, weights="2"),
        fid("b", {"fid": 3.0}, steps=50),
        fid("c", {"fid": 4.0}, num_images=50_000),
        fid("a", {"fid_mean": 1.5, "fid_minimum": 1.0}, seed="0, 1"),
    )
    tables = [part.splitlines() for part in text.split("#### Measured by fid, protocol ")[1:]]
    assert [table[2].split(" | ")[1:] for table in tables] == [
        ["conditions", "FID-1,000 |"], ["FID-1,000 |"], ["FID-50,000 |"], ["mean FID", "minimum of FID |"],
    ]  # fmt: skip
    assert [line for line in tables[0] if line.startswith("| a")] == ["| a | weights 1 | 1 |", "| a | weights 2 | 2 |"]
    assert "| b | 3 |" in tables[1]


def test_a_summary_is_cut_where_it_becomes_too_long() -> None:
    whole = markdown.render(gather([*every_outcome(), *(bench(f"model-{k}", 0.01 * k) for k in range(1, 60))]))
    assert markdown.within(whole, len(whole.encode())) == whole
    cut = markdown.within(whole, 3000)
    assert len(cut.encode()) <= 3000
    assert cut.startswith(whole[:500])
    assert "**Cut here: this report has " in cut.splitlines()[-1]
    assert cut.count("<details>") == cut.count("</details>")
    assert markdown.within(whole, 50) == ""


def test_a_warning_of_very_many_rows_names_the_first() -> None:
    rows = [{**bench("dit-s2", 0.01, batch=k), "warnings": ["The load was high."]} for k in range(1, 1001)]
    (line,) = [line for line in render(*rows).splitlines() if "The load was" in line]
    assert line.count("batch ") == 20
    assert "980 more: The load was" in line


def test_a_cut_report_says_how_much_is_shown_and_keeps_the_rows_that_fit() -> None:
    table = "\n".join(["| a |", "| --- |", *(f"| {k:04} |" for k in range(5000))])
    cut = markdown.within(f"**one**\n\n{table}\n\nlast\n", 20_000)
    shown, said = cut[: cut.index("**Cut here")], cut[cut.index("**Cut here") :]
    assert 19_000 < len(cut.encode()) <= 20_000
    assert "last" not in shown
    assert f"{units.size(len(shown.rstrip().encode()))} are shown" in said
    assert "--to report.md" in said
