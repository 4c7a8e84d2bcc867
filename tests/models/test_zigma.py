"""ZigMa against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dimbench import presets
from dimbench.counting.costs import count
from dimbench.errors import UsageError
from dimbench.models import zigma
from tests import example
from tests import golden_data as golden
from tests.models import relatives

TINY = {"input_size": 8, "embed_dim": 16, "depth": 3}


def filled(card: dict[str, Any]) -> Any:
    return relatives.filled(zigma, card, input_size=card["config"]["img_dim"])


def told(case: dict[str, Any]) -> Tensor | None:
    if "context_shape" in case:
        return golden.unit("input.context", *case["context_shape"]) * 3**0.5
    return None if case["y"] is None else torch.tensor(case["y"])


@pytest.mark.parametrize(
    ("name", "file"), relatives.cases("zigma-tiny", "zigma-tiny-text", "zigma-tiny-v2", "zigma-s-2")
)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    with torch.no_grad():
        ours = filled(card)(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), told(case))
    relatives.agree(ours, file)


@pytest.mark.parametrize("name", ["zigma-tiny", "zigma-tiny-text", "zigma-tiny-v2"])
def test_intermediate_states(name: str) -> None:
    card, case = relatives.card_and_case(name, f"{name}-a.npz")
    model = filled(card)
    inside = {f"block_{index}": block for index, block in enumerate(model.blocks)}
    inside |= {f"mixer_{index}": block.mixer for index, block in enumerate(model.blocks)}
    inside["msa_0"] = getattr(model.blocks[0], "msa", None)
    modules = {state: inside.get(state) or getattr(model, state) for state in case["intermediates"]}
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), told(case))
    for state, ours in seen.items():
        relatives.agree(ours[0] if isinstance(ours, tuple) else ours, f"{name}-a.npz", state)
    assert set(seen) == set(case["intermediates"])


@pytest.mark.parametrize(
    ("name", "row", "resolution", "further"),
    [
        ("zigma-s2", "S/2", 256, 0),
        ("zigma-b1", "B/1", 256, 0),
        ("zigma-b2", "B/2", 256, 0),
        ("zigma-m2", "M/2", 256, 0),
        ("zigma-l2", "L/2", 256, 0),
        ("zigma-h2", "H/2", 256, 0),
        ("zigma-b2", "B/2 [run]", 256, 0),
        ("zigma-b1-v2", "B/1 v2 (bidirectional) [run]", 256, 0),
        ("zigma-b2-1024", "B/2 [run]", 1024, -4096 * 768),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int, further: int) -> None:
    """The table has no scans, and where the module was run the convolutions' padding; at 1024 a learned table more."""
    config = zigma.Config(**presets.find(name).config)
    scans = sum(line.macs for line in count(name, resolution).bill.lines if line.operator == "selective_scan")
    directions = 2 if config.scan_type == "v2" else 1
    padding = directions * config.depth * 2 * config.embed_dim * config.d_conv * (config.d_conv - 1)
    unseen = scans - (padding if "run" in row else 0)
    relatives.check_counts(name, f"ZigMa {row}", resolution, unseen=unseen, further=further)


def small(**settings: Any) -> Any:
    fixed = ("pos_embed",) if settings.get("use_pe") == 1 else ()
    return golden.fill(zigma.build(zigma.Config(**{**TINY, **settings})).eval(), fixed)


def test_the_tables_per_block_of_the_authors_are_no_table() -> None:
    """use_pe 3 makes zeros that are neither trained nor saved."""
    assert small(use_pe=3).state_dict().keys() == small(use_pe=0).state_dict().keys()


@pytest.mark.parametrize("index", range(8))
def test_a_mixer_reads_along_its_path(index: int) -> None:
    """Neighbours on the path are neighbours on the grid, and what a token gives depends on those before it alone."""
    mixer = golden.fill(zigma.ZigzagMixer(zigma.Config(**TINY), index))
    rows, columns = mixer.path // 4, mixer.path % 4
    assert (rows.diff().abs() + columns.diff().abs()).tolist() == [1] * 15
    x = golden.latents(1, 16, 16)
    changed = x.clone()
    changed[:, mixer.path[7]] += 1
    with torch.no_grad():
        moved = (mixer(changed) - mixer(x)).abs().amax(dim=(0, 2)) > 0
    assert moved[mixer.path].tolist() == [False] * 7 + [True] * 9


def test_two_ways_are_one_way_and_the_other() -> None:
    """With equal weights for both, a mirrored sequence gives the mirrored output."""
    mixer = golden.fill(zigma.TwoWayMixer(16, 16, 4, 2, 0))
    pairs = {"A_b_log": "A_log", "D_b": "D", "conv1d_b": "conv1d", "x_proj_b": "x_proj", "dt_proj_b": "dt_proj"}
    state = mixer.state_dict()
    for other, first in pairs.items():
        for name in state:
            if name.split(".")[0] == other:
                state[name].copy_(state[name.replace(other, first)])
    x = golden.latents(2, 9, 16)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x.flip(1)), mixer(x).flip(1))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_classes": 10},
        {"has_text": True, "d_context": 8},
        {"scan_type": "v2"},
        {"rms_norm": False, "d_state": 8, "d_conv": 3, "expand": 3, "dt_rank": 5},
    ],
)
def test_every_parameter_learns(settings: dict[str, Any]) -> None:
    model = small(**settings)
    model(**example.inputs(model, 2)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if not p.grad.abs().sum()] == []


def test_the_text_matters_beyond_its_mean() -> None:
    model = small(has_text=True, d_context=8)
    x, t, text = golden.latents(1, 4, 8, 8), torch.tensor([0.5]), golden.unit("input.context", 1, 3, 8)
    spread = text - text.mean(1, keepdim=True)
    with torch.no_grad():
        assert not torch.allclose(model(x, t, text), model(x, t, text + spread), atol=1e-4)
        assert torch.allclose(model(x, t, text), model(x, t, text.flip(1)), atol=1e-5)


def test_a_fresh_network_passes_its_normed_tokens_on() -> None:
    """Gates are closed: each block adds the norm of the residual to it."""
    model: Any = zigma.build(zigma.Config(**TINY)).eval()
    x, t = golden.latents(1, 4, 8, 8), torch.tensor([0.5])
    with torch.no_grad():
        residual, hidden = 0, model.x_embedder(x)
        for _ in range(3):
            residual = residual + hidden
            hidden = F.rms_norm(residual, (16,), eps=1e-5)
        last = F.layer_norm(F.rms_norm(residual + hidden, (16,), eps=1e-5), (16,), eps=1e-6)
        expected = zigma.unpatchify(model.final_layer.linear(last), 2)
        torch.testing.assert_close(model(x, t), expected)


def test_training_drops_paths() -> None:
    model = small(drop_path=0.5).train()
    x, t = golden.latents(1, 4, 8, 8).expand(64, -1, -1, -1), torch.full((64,), 0.5)
    torch.manual_seed(0)
    with torch.no_grad():
        assert len(model(x, t).flatten(1).unique(dim=0)) > 1
        assert len(model.eval()(x, t).flatten(1).round(decimals=4).unique(dim=0)) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_size": 7}, "side 7"),
        ({"embed_dim": 18}, "embed_dim 18"),
        ({"scan_type": "hilbertN8"}, "'hilbertN8' is unknown"),
        ({"scan_type": "zigzagN9"}, "'zigzagN9' is unknown"),
        ({"use_pe": 4}, "use_pe 4"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        zigma.Config(**settings)


def test_what_it_is_told_is_asked_for() -> None:
    with pytest.raises(UsageError, match="told no class"):
        small(num_classes=10)(torch.zeros(1, 4, 8, 8), torch.zeros(1))
