"""PixArt-alpha against the official implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench import backbone
from dimbench.diffusion.guidance import guided
from dimbench.errors import UsageError
from dimbench.models import pixart
from dimbench.weights.checkpoints import load_checkpoint
from tests import example
from tests import golden_data as golden
from tests.models import relatives

SMALL = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 8, "model_max_length": 5, "input_size": 8}
CASES = relatives.cases("pixart-tiny", "pixartms-tiny", "pixart-s-2")


def told(model: Any, case: Mapping[str, Any]) -> dict[str, Tensor]:
    """Text, mask and sizes of a case; the second half of a guided batch has the null prompt."""
    text = golden.unit("input.context", *case["context_shape"]) * 3**0.5
    if case["mode"] == "forward_with_cfg":
        text = torch.cat([text, model.y_embedder.y_embedding[None, None]])
    others = {name: torch.tensor(case[name]) for name in ("mask", "img_hw", "aspect_ratio") if name in case}
    return {"y": text, **others}


@pytest.mark.parametrize(("name", "file"), CASES)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    model: Any = relatives.filled(pixart, card, multi_scale="ms" in name)
    given = told(model, case)
    text = given.pop("y")

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return model(x, t, y, **given)

    call = guided(network, case["cfg_scale"], 3) if case["mode"] == "forward_with_cfg" else network
    x, t = golden.latents(*case["x_shape"]), torch.tensor(case["t"])
    with torch.no_grad():
        ours = call(x, t, text)
    if case["mode"] == "forward_with_dpmsolver":
        ours = ours[:, : x.shape[1]]
    relatives.agree(ours, file)


@pytest.mark.parametrize("name", ["pixart-tiny", "pixartms-tiny"])
def test_intermediate_states(name: str) -> None:
    card, case = relatives.card_and_case(name, f"{name}-a.npz")
    model: Any = relatives.filled(pixart, card, multi_scale="ms" in name)
    inside = {
        "attn_0": model.blocks[0].attn,
        "cross_attn_0": model.blocks[0].cross_attn,
        "block_0": model.blocks[0],
        "block_1": model.blocks[1],
    }
    states = set(case["intermediates"])
    modules = {state: inside[state] if state in inside else getattr(model, state) for state in states}
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), **told(model, case))
    for state in states:
        relatives.agree(seen[state], f"{name}-a.npz", state)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("pixart-xl2", "PixArt-alpha-XL/2", 256),
        ("pixart-xl2", "PixArt-alpha-XL/2", 512),
        ("pixart-xl2-1024", "PixArt-alpha-XL/2-1024-MS", 1024),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


def small(**settings: Any) -> Any:
    """A network whose every part matters."""
    return golden.fill(pixart.build(pixart.Config(**{**SMALL, **settings})).eval(), ("pos_embed",))


def tokens(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    given = example.inputs(model, 2)
    return given["x"], given["t"], given["y"]


def test_a_masked_token_is_as_good_as_none() -> None:
    model = small()
    x, t, y = tokens(model)
    mask = torch.tensor([[True, False, True, True, False]])
    with torch.no_grad():
        short = model(x, t, y[:, :, mask[0]])
        torch.testing.assert_close(model(x, t, y, mask=mask), short)
        assert not torch.allclose(model(x, t, y), short)


def test_rows_that_are_told_nothing_have_the_null_prompt() -> None:
    model = small()
    x, t, y = tokens(model)
    untold = torch.tensor([True, False])
    null = torch.where(untold[:, None, None, None], model.y_embedder.y_embedding, y)
    with torch.no_grad():
        assert torch.equal(model(x, t, y, untold=untold), model(x, t, null))
        assert not torch.equal(model(x, t, y)[0], model(x, t, null)[0])


def test_published_files_need_no_position_table() -> None:
    model = small()
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "pos_embed"}
    again = pixart.build(model.config).eval()
    load_checkpoint(again, state)
    given = tokens(model)
    with torch.no_grad():
        assert torch.equal(again(*given), model(*given))


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (5,)])
def test_a_mask_of_another_length_is_refused(shape: tuple[int, ...]) -> None:
    model = small()
    with pytest.raises(UsageError, match="text mask of shape"):
        model(*tokens(model), mask=torch.ones(shape))


def test_sizes_are_needed_where_the_scale_is_free() -> None:
    model = small(multi_scale=True)
    with pytest.raises(UsageError, match="img_hw"):
        model(*tokens(model))


def test_other_sizes_need_the_multi_scale_network() -> None:
    model = small()
    _, t, y = tokens(model)
    with pytest.raises(UsageError, match="4 x 6 patches"):
        model(torch.randn(2, 4, 8, 12), t, y)


@pytest.mark.parametrize("settings", [{"input_size": 7}, {"hidden_size": 26, "num_heads": 13}, {"lewei_scale": -1.5}])
def test_what_does_not_fit_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(settings.values())))):
        pixart.Config(**settings)


def test_a_network_of_another_aspect_is_the_square_one_told_that_size() -> None:
    """Whose outputs at such sizes are compared with the official ones above."""
    square = small(multi_scale=True)
    for parameter in square.parameters():
        nn.init.normal_(parameter, std=0.2)
    config = pixart.Config(**{**SMALL, "multi_scale": True, "input_size": (8, 12), "base_side": 4})
    other = pixart.build(config).eval()
    other.load_state_dict(pixart.fit_checkpoint(square.state_dict(), config))
    given = pixart.given(config, range(2))
    assert given["img_hw"].tolist() == [[64, 96]] * 2
    assert given["aspect_ratio"].flatten().tolist() == pytest.approx([2 / 3] * 2)
    x, t = torch.randn(2, *config.state), torch.tensor([3.0, 800.0])
    with torch.no_grad():
        drawn = other(x, t, **given)
        assert torch.equal(drawn, square(x, t, **given))
    assert drawn.std() > 0.1


def test_the_multi_scale_network_is_found_at_any_aspect() -> None:
    found = backbone.find("pixart-xl2-1024", "512x768", settings={"depth": 1})
    assert found.state == (4, 64, 96)
    assert (found.conditions["resolution"], found.conditions["width"]) == (512, 768)
    with pytest.raises(UsageError, match="64 x 96 is no square"):
        _ = backbone.find("pixart-xl2", "512x768").state
    with pytest.raises(UsageError, match="base_side 4 is for multi_scale"):
        pixart.Config(base_side=4)
