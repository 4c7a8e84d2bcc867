from __future__ import annotations

import itertools
from collections import Counter

import pytest

from dimbench.backbone import Classes
from dimbench.errors import UsageError
from dimbench.sampling.labels import Labels, find_labels
from dimbench.sampling.sample_noise import mixed


def rule(text: str | None, seed: int = 0, trained_without: bool = False) -> Labels:
    return find_labels(text, Classes(10, 10, trained_without), seed)


def test_balanced_labels_are_all_classes_in_turn() -> None:
    assert rule("balanced").of(range(23)) == [k % 10 for k in range(23)]
    assert rule(None) == rule("balanced")
    assert rule("3, 7").of(range(3)) == [3, 7, 3]
    assert rule("3, 7") == rule("3,7")


def test_random_labels_are_uniform_and_decided_by_seed_and_image() -> None:
    labels = rule("random", seed=5)
    drawn = labels.of(range(10_000))
    # the count of a class has a standard deviation of 30
    assert all(abs(count - 1000) < 150 for count in Counter(drawn).values())
    pairs = Counter(itertools.pairwise(drawn))
    assert len(pairs) == 100
    assert max(pairs.values()) < 160  # of 100 on average, standard deviation 10
    assert labels.of(range(700, 710)) == drawn[700:710]
    assert rule("random", seed=6).of(range(100)) != drawn[:100]


def test_a_label_says_nothing_of_the_noise() -> None:
    """The image's noise is seeded by mixed(seed, k): its remainder is not the label."""
    alike = sum(rule("random")(k) == mixed(0, k) % 10 for k in range(1000))
    assert 60 < alike < 140


def test_a_network_trained_without_labels_gets_none() -> None:
    for text in (None, "balanced", "random"):
        assert rule(text, trained_without=True).of(range(3)) == [10, 10, 10]
    assert rule("2", trained_without=True).of(range(2)) == [2, 2]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "Random", "1.5"])
def test_what_is_no_rule_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--labels"):
        rule(text)


@pytest.mark.parametrize(("text", "null", "words"), [("3,11", None, "label 11 .* 0 to 9"), ("-1", 10, "from 0 to 10")])
def test_labels_that_are_no_class_are_named(text: str, null: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_labels(text, Classes(10, null), 0)
