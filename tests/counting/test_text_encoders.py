from __future__ import annotations

import sys
from dataclasses import asdict

import pytest

from dimbench import presets
from dimbench.counting.text_encoders import encoder, text_encoders
from dimbench.errors import DimbenchError, UsageError
from dimbench.papers import figures

NAMES = {name for preset in presets.all_presets().values() for name in preset.text_encoders}


@pytest.mark.parametrize(
    ("name", "printed"),
    [("sd-v1-5", "123M"), ("sdxl", "817M")],  # SDXL, table 1, of both networks
)
def test_parameters_are_those_that_are_printed(name: str, printed: str) -> None:
    figure = figures.read(printed)
    assert figure
    assert figure.reading(sum(cost.params for cost in text_encoders(presets.find(name))))


def test_products_of_t5_are_its_closed_form() -> None:
    (cost,) = text_encoders(presets.find("pixart-alpha-1024"))
    tokens, width, heads, inner, layers = 120, 4096, 64, 10240, 24
    linear = tokens * (4 * width * width + 3 * width * inner)
    assert cost.macs == layers * (linear + 2 * heads * 64 * tokens**2)
    assert asdict(cost)["encoder"] == "t5-xxl"


def test_a_network_without_a_text_has_no_encoder() -> None:
    assert text_encoders(presets.find("dit-s2")) == []


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_encoder_that_presets_name_is_known(name: str) -> None:
    assert encoder(name).source


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(UsageError, match="unknown text encoder 't5-xl'; did you mean"):
        encoder("t5-xl")


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DimbenchError, match=r"pip install 'dimbench\[text\]'"):
        text_encoders(presets.find("sdxl"))
