"""Numbers beyond all that can be: one sentence, and before anything is built from them."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.commands import processes
from tests.console import refused

HUGE = str(10**20)


@pytest.mark.parametrize(
    "words",
    [
        ("flops", "dit-s2", "--resolution", str(2**63)),
        ("params", "dit-s2", "--resolution", HUGE),
        ("sample", "dit-s2", "--resolution", "0"),
        ("fid", "--model", "dit-s2", "--resolution", HUGE),
        ("bench", "dit-s2", "--resolution", HUGE),
        ("bench", "dit-digits", "--resolution", "²"),
        ("bench", "dit-digits", "--batch", "²"),
        ("bench", "dit-digits", "--batch", "100000000"),
        ("bench", "dit-digits", "--threads", HUGE),
        ("flops", "dit-s2", "--batch", HUGE),
        ("sample", "dit-digits", "--batch", "100000000"),
        ("sample", "dit-digits", "--steps", HUGE),
        ("sweep", "resolution", "--shard", "²/³"),
        ("compare", "dit-digits", "--a", "'"),
        ("compare", "dit-digits", "--b", "--x", "--bench", "'"),
        ("calibrate", "--bench", "'"),
        ("train", "dit-digits", "--batch", HUGE),
        ("train", "dit-digits", "--seed", HUGE),
        ("train", "digits-classifier", "--seed", "-1"),
        ("train", "dit-digits", "--lr", "inf"),
        ("bench", "dit-digits", "--budget", "nan"),
        ("compare", "dit-digits", "--a", "--batch 2", "--budget", "inf"),
        ("sample", "dit-digits", "--cfg", "1e400"),
        ("weights", "fetch", "dit-xl2", "--timeout", "inf"),
    ],
    ids=" ".join,
)
def test_a_number_beyond_all_bounds_is_a_usage_error(words: tuple[str, ...]) -> None:
    refused(2, *words)


@pytest.mark.parametrize("out", ["folder", "sheet.png"])
def test_the_disk_is_looked_at_before_the_images_are_listed(out: str, tmp_path: Path) -> None:
    place = tmp_path / out
    said = refused(1, "sample", "dit-digits", "--num-images", "1000000000000", "--out", str(place))
    assert "free and the images take" in said
    assert not list(tmp_path.glob("*.part"))


def test_an_address_space_too_small_for_torch_is_one_sentence(tmp_path: Path) -> None:
    started = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({10**9}, {resource.RLIM_INFINITY}))
from dimbench.cli import main
main()
"""
    _, said = processes.start(tmp_path, "flops", "dit-s2", "--breakdown", "module", python=("-c", started)).communicate(
        timeout=60
    )
    assert said.startswith("dimbench: torch cannot be loaded and work in the address space of 1.00 GB")
    assert len(said.splitlines()) == 1
