"""FiT and FiTv2 against the official implementation, at any size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dimbench
from dimbench.diffusion.guidance import guided
from dimbench.errors import UsageError
from dimbench.models import fit
from tests import example
from tests import golden_data as golden
from tests.models import relatives

FIRST = {"adaln_lora_dim": 0, "qk_norm": False}
TINY = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 4, "adaln_lora_dim": 8, "num_classes": 10}


def filled(name: str) -> Any:
    card = golden.card(f"relatives/{name}.json")
    return relatives.filled(fit, card, **(FIRST if "v1" in name else {}))


def padded(model: Any, length: int, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The same latents as tokens, after which empty ones at row 0 and column 0 make up the length."""
    tokens = F.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)
    side, count = x.shape[-1] // 2, tokens.shape[1]
    places = torch.arange(count)
    rows, columns, mask = (F.pad(part, (0, length - count)) for part in (places // side, places % side, places >= 0))
    tokens = F.pad(tokens, (0, 0, 0, length - count))
    out = model.of_tokens(tokens, t, y, rows, columns, (side, side), mask.long().expand(len(x), -1))
    assert out[:, count:].abs().max() == 0
    return F.pixel_shuffle(out[:, :count].transpose(1, 2).unflatten(2, (side, side)), 2)


@pytest.mark.parametrize(("name", "file"), relatives.cases("fitv2-tiny", "fitv2-tiny-ntk", "fitv1-tiny", "fitv2-s-2"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    model = filled(name)
    given = relatives.halves(case)
    with torch.no_grad():
        if "pad_to" in case:
            ours = padded(model, case["pad_to"], *given)
        elif case["mode"] == "forward_with_cfg":
            ours = guided(model, case["cfg_scale"], 3)(*given)
        else:
            ours = model(*given)
    relatives.agree(ours, file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("fitv2-tiny", "fitv2-tiny-a.npz")
    model = filled("fitv2-tiny")
    modules = {name: getattr(model, name) for name in ("x_embedder", "t_embedder", "y_embedder")}
    modules["global_adaln"] = model.global_adaLN_modulation
    modules |= {"block_0": model.blocks[0], "last_block": model.blocks[-1]}
    assert set(modules) == set(case["intermediates"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    for name, ours in seen.items():
        relatives.agree(ours, "fitv2-tiny-a.npz", name)


def test_rotations_are_the_official_ones() -> None:
    model = filled("fitv2-tiny")
    places = torch.arange(24)
    turns = model._rotations(places // 6, places % 6, (4, 6))
    for array, part in (("rope_cos", turns.real), ("rope_sin", turns.imag)):
        relatives.agree(part.repeat_interleave(2, dim=-1), "fitv2-tiny-a.npz", array)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("fitv1-xl2", "FiTv1-XL/2", 256),
        ("fitv2-xl2", "FiTv2-XL/2", 256),
        ("fitv2-xl2-hr", "FiTv2-XL/2", 512),
        ("fitv2-3b2", "FiTv2-3B/2", 256),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


def small(**settings: Any) -> Any:
    return golden.fill(fit.build(fit.Config(**{**TINY, **settings})).eval())


def test_images_in_one_row_do_not_see_each_other() -> None:
    model = small()
    first, second = golden.latents(1, 4, 4, 8), golden.unit("second", 1, 4, 6, 4)
    t, y = torch.tensor([0.3]), torch.tensor([3])
    parts = [F.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2) for x in (first, second)]
    places = [fit.grid(2, 4), fit.grid(3, 2)]
    rows, columns = (torch.cat([place[axis] for place in places]) for axis in (0, 1))
    mask = torch.tensor([[1] * 8 + [2] * 6])
    with torch.no_grad():
        together = model.of_tokens(torch.cat(parts, dim=1), t, y, rows, columns, (3, 4), mask)
        alone = [model.of_tokens(part, t, y, *place, (3, 4)) for part, place in zip(parts, places, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-5, rtol=1e-4)


def test_places_can_differ_from_row_to_row() -> None:
    model = small()
    tokens, t, y = golden.latents(2, 8, 16), torch.tensor([0.3, 0.6]), torch.tensor([3, 4])
    wide, tall = fit.grid(2, 4), fit.grid(4, 2)
    rows, columns = (torch.stack([wide[axis], tall[axis]]) for axis in (0, 1))
    with torch.no_grad():
        together = model.of_tokens(tokens, t, y, rows, columns, (4, 4))
        first = model.of_tokens(tokens[:1], t[:1], y[:1], *wide, (4, 4))
        second = model.of_tokens(tokens[1:], t[1:], y[1:], *tall, (4, 4))
    torch.testing.assert_close(together, torch.cat([first, second]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", fit.FREQUENCIES)
def test_nothing_is_squeezed_up_to_the_original_length(method: str) -> None:
    plain = fit.frequencies("normal", 36, 16, 16)
    torch.testing.assert_close(plain, 10000.0 ** -(torch.arange(18) / 18))
    torch.testing.assert_close(fit.frequencies(method, 36, 16, 16), plain)
    torch.testing.assert_close(fit.frequencies(method, 36, 8, 16), plain)


def test_frequencies_are_squeezed_as_their_papers_say() -> None:
    """Of four times the length: linear divides all by 4, the others leave the fastest and divide the slowest by 4."""
    plain = fit.frequencies("normal", 36, 16, 16)
    ratios = {name: plain / fit.frequencies(name, 36, 64, 16) for name in fit.FREQUENCIES}
    torch.testing.assert_close(ratios["linear"], torch.full((18,), 4.0))
    for name in ("ntk-aware", "ntk-aware-pro1", "ntk-aware-pro2", "yarn"):
        torch.testing.assert_close(ratios[name][0], torch.tensor(1.0))
        torch.testing.assert_close(ratios[name][-1], torch.tensor(4.0))
        assert (ratios[name].diff() >= -1e-6).all(), name
    # over 16 places frequency 0 turns more than 2 times, frequency 1 more than 1.25, frequency 3 less than 0.75
    parts, rebased, squeezed = (fit.frequencies(name, 36, 64, 16) for name in ("ntk-by-parts", "ntk-aware", "linear"))
    expected = torch.cat([plain[:1], rebased[1:2], (rebased[2:3] + squeezed[2:3]) / 2, squeezed[3:]])
    torch.testing.assert_close(parts, expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("normal", 1.0),
        ("ntk-aware", 1.0),
        ("yarn", 0.1 * math.log(2) + 1),
        ("ntk-aware-pro1", math.sqrt(math.log(64) / math.log(16))),
        ("ntk-aware-pro2", math.sqrt(math.log(2 * 32 * 20) / math.log(256))),
    ],
)
def test_attention_is_sharpened_with_the_number_of_tokens(method: str, expected: float) -> None:
    assert fit.amplitude(method, 32, 20, 16) == pytest.approx(expected)
    assert fit.amplitude(method, 8, 8, 16) == 1


@pytest.mark.parametrize("method", ["normal", "linear", "ntk-aware", "ntk-by-parts", "yarn"])
def test_the_narrowest_heads_have_one_frequency(method: str) -> None:
    expected = 0.25 if method == "linear" else 1.0
    assert fit.frequencies(method, 2, 64, 16).tolist() == [expected]


def test_longer_axis_decides_unless_decoupled() -> None:
    """The short axis of 8 x 40 places keeps its frequencies only where each axis is looked at alone."""
    x, t, y = golden.latents(1, 4, 16, 80), torch.tensor([0.5]), torch.tensor([3])
    places = fit.grid(8, 40)
    normal, coupled, decoupled = (
        small(custom_freqs=method, decouple=alone)._rotations(*places, (8, 40))
        for method, alone in (("normal", False), ("linear", False), ("linear", True))
    )
    half = normal.shape[-1] // 2
    assert torch.equal(decoupled[:, :half], normal[:, :half])
    assert not torch.allclose(coupled[:, :half], normal[:, :half])
    assert torch.equal(decoupled[:, half:], coupled[:, half:])
    with torch.no_grad():
        assert small()(x, t, y).shape == (1, 4, 16, 80)


def test_times_are_held_at_one_where_they_are_shares() -> None:
    x, y = golden.latents(2, 4, 8, 8), torch.tensor([3, 4])
    with torch.no_grad():
        late, one = (small()(x, torch.full((2,), time), y) for time in (7.0, 1.0))
        assert torch.equal(late, one)
        late, one = (small(use_sit=False)(x, torch.full((2,), time), y) for time in (7.0, 1.0))
        assert not torch.allclose(late, one)


def test_latents_need_not_be_square() -> None:
    model = dimbench.create_model(
        "fitv2-xl2", input_size=(20, 40), **{k: TINY[k] for k in ("hidden_size", "depth", "num_heads")}
    )
    assert model(**example.inputs(model, 1)).shape == (1, 4, 20, 40)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_size": 7}, "latent of 7 x 7"),
        ({"input_size": (8, 7)}, "latent of 8 x 7"),
        ({"num_heads": 7}, "7 heads"),
        ({"custom_freqs": "ntk"}, "'ntk' is unknown"),
        ({"time_shifting": 0.0}, "time_shifting 0 .* above 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fit.Config(**settings)


def test_a_latent_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="latent of 8 x 7"):
        small()(torch.zeros(1, 4, 8, 7), torch.zeros(1), torch.zeros(1, dtype=torch.long))
