from __future__ import annotations

import pytest

from dimbench.papers import figures
from dimbench.papers.verdicts import VerdictKind, judge, uncheckable

G = 10**9


@pytest.mark.parametrize(
    ("printed", "ours", "own", "kind", "words"),
    [
        ("1.00", 1 * G, 2 * G, VerdictKind.AGREES, "agrees"),
        ("5.56", 5_565_186_048, 5_566_414_848, VerdictKind.AGREES, "agrees (cut off, not rounded)"),
        ("0.75", 1 * G, G * 3 // 4, VerdictKind.OWN_RULE, "agrees under its own rule, which leaves out 25.0 %"),
        ("1.10", 1 * G, G * 11 // 10, VerdictKind.OWN_RULE, "agrees under its own rule, which adds 10.0 %"),
        ("2.37", 1 * G, 1 * G, VerdictKind.DIFFERS, "does not agree: 2.4 times ours"),
        ("1.50", 2 * G, 1 * G, VerdictKind.DIFFERS, "does not agree: 50.0 % above ours"),
        ("0.50", 1 * G, 1 * G, VerdictKind.DIFFERS, "does not agree: 50.0 % below ours"),
        ("361.14", 360_981_987_328, 361_033_367_552, VerdictKind.DIFFERS, "does not agree: 0.03 % above ours"),
    ],
)
def test_verdicts(printed: str, ours: int, own: int, kind: VerdictKind, words: str) -> None:
    figure = figures.read(printed, G)
    assert figure is not None
    verdict = judge(figure, ours, own)
    assert verdict.kind is kind
    assert str(verdict) == words


def test_what_a_rule_leaves_out_is_a_share_of_our_count() -> None:
    figure = figures.read("84.49", G)
    assert figure is not None
    assert judge(figure, 96_598_228_992, 84_493_467_648).left_out == pytest.approx(1 - 84_493_467_648 / 96_598_228_992)


def test_the_reason_stands_beside_not_checkable() -> None:
    assert str(uncheckable("no such network")) == "not checkable here: no such network"
