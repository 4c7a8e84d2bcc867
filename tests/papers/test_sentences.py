"""What surveys say in sentences, and what of it is true."""

from __future__ import annotations

import pytest

from dimbench.papers import said, speed_claims
from dimbench.papers import survey_sentences as surveys
from dimbench.papers.sentences import Answer, Holds, SentenceKind, contradictions
from tests.papers.made_up import bench


def answer(words: str) -> Answer:
    (found,) = (each for each in surveys.SENTENCES if words in each.says)
    return found.check()


@pytest.mark.parametrize(
    ("words", "verdict", "found"),
    [
        ("150k A100-hours", Holds.YES, "6,250.0 days"),
        ("US$ 600k", Holds.YES, "US$ 4.00 an hour"),
        ("665k H100-hours", Holds.YES, "27,708.3 days"),
        ("90 % cheaper", Holds.YES, "89.2% saved"),
        ("more than 20 s", Holds.UNMEASURED, "262 TMACs"),
        ("At 2K", Holds.UNMEASURED, "17.3 TMACs"),
        ("A patch halved: 4 times", Holds.TWO_SOURCES, "x 4.13 by our count; survey-mmdit-1 prints x 3.90"),
        ("A patch halved: at least", Holds.OWN_TABLE, "8 of its 8 halvings are below x 4"),
        ("DiT-XL/2 at 256: FID 2.27", Holds.CONDITIONS, "cfg 1.5; without guidance it prints 9.62"),
        ("DiT-MoE: FID 1.80", Holds.CONDITIONS, "512 pixels"),
        ("DyDiT", Holds.YES, "48.8% left"),
        ("ADiT", Holds.UNKNOWN, "no such network"),
        ("new state of the art", Holds.OWN_TABLE, "StyleGAN-XL has 2.41"),
        ("a sixth", Holds.NO, "1 / 6.1 in its own table, 1 / 5.3 by our count"),
        ("saves 75 %", Holds.YES, "16.7% is saved"),
        ("3 sizes, 2 down-samplings", Holds.YES, "5 stages on 3 sizes"),
        ("U-ViT's skips add", Holds.NO, "500.8 M parameters as it prints, 37.2 M of them"),
        ("16 times the tokens", Holds.YES, "16 to 256 at 256 pixels; its table has 1024 and 16384"),
        ("L/8 has 3.5 times", Holds.OWN_TABLE, "x 3.52 the parameters holds, but its FIDs are 33% apart"),
        ("B/4 to B/2", Holds.NO, "x 4.13 by our count"),
        ("in context", Holds.YES, "+0.6"),
        ("cross-attention", Holds.YES, "+16.0%"),
        ("DALL-E 3", Holds.YES, "+23.2%"),
        ("95 synthetic ones", Holds.UNKNOWN, "training"),
        ("FCDM-XL", Holds.NO, "54.4%"),
        ("below a billion", Holds.YES, "459.9 M, DiT-L/2 457.8 M"),
    ],
)
def test_answers_are_computed(words: str, verdict: Holds, found: str) -> None:
    given = answer(words)
    assert given.verdict is verdict, given
    assert found in given.found


def test_two_surveys_print_unlike_figures() -> None:
    found = {each.says.partition(" at ")[0]: each.check() for each in contradictions()}
    assert set(found) == {
        "Gflops of DiT-S/2", "M parameters of DiT-B/2", "Gflops of DiT-B/2", "M parameters of DiT-L/2",
        "Gflops of DiT-L/2", "Gflops of DiT-XL/2",
    }  # fmt: skip
    assert {each.verdict for each in found.values()} == {Holds.TWO_SOURCES}
    assert "right is survey-udit-1" in found["Gflops of DiT-XL/2"].found
    assert "right is survey-mmdit-1" in found["M parameters of DiT-B/2"].found
    assert "right is neither" in found["Gflops of DiT-S/2"].found


def test_every_kind_and_every_verdict_occurs() -> None:
    asked = said.sentences()
    assert {each.kind for each in asked} == set(SentenceKind)
    assert {each.check().verdict for each in asked} == set(Holds)


def test_they_are_asked_for_by_model_and_by_survey() -> None:
    assert {each.source for each in said.sentences("survey-udit-*")} >= {"a survey of U-DiT (July 2025)"}
    assert "a survey of DiT (July 2025)" not in {each.source for each in said.sentences("survey-udit-*")}
    assert [each.says for each in said.sentences("uvit-h2")] == ["U-ViT's skips add shallow outputs to deep inputs"]
    assert {each.fast for each in said.speeds("DiCo-XL")} == {"dico-xl"}


def test_printed_speeds_are_ratios_of_their_tables() -> None:
    printed = [speed_claims.printed(claim) for claim in speed_claims.CLAIMS]
    assert printed == ["1.73", "0.52", "0.33", "0.40", "2.7", "3.1", "0.49", "1.84", "1.5 to 2"]
    assert speed_claims.of_macs(speed_claims.CLAIMS[4]) == pytest.approx(118.62 / 87.22, rel=1e-3)


def test_a_speed_is_measured_where_both_ran_under_equal_conditions() -> None:
    claim = speed_claims.CLAIMS[4]
    both = [bench("dico-xl", 1.0), bench("dit-xl2", 2.0), bench("dit-xl2", 9.0, batch=8)]
    found = speed_claims.measured(claim, both)
    assert [(times, batch) for times, _, batch in found] == [(2.0, both[0]["conditions"]["batch"])]
    assert speed_claims.measured(claim, both[:1]) == []
