from __future__ import annotations

import csv
import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dimbench
from dimbench import backbone, presets
from dimbench.counting import parameters as params
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.errors import DimbenchError, UsageError
from dimbench.meta import shapes_only
from dimbench.models import dim
from dimbench.weights import checkpoints
from tests import example, golden_data

# Relative to the largest value: float32 rounding of 49 scans is 4e-6.
GOLDEN = 2e-5
# Where skips are weighted: 3e-6 is seen, unweighted ones would be 9e-5 off.
GOLDEN_WEIGHTED = 5e-6

NAMES = (
    "DiM-tiny-lateral",
    "DiM-tiny-rho",
    "DiM-tiny-wide",
    "DiM-tiny-multires",
    "DiM-S-cifar10",
    "DiM-L-256",
    "DiM-H-512",
)
CARDS = {name: golden_data.card(f"dim/{name}.json") for name in NAMES}
CASES = [
    pytest.param(name, case, id=case["file"], marks=pytest.mark.slow if name in ("DiM-L-256", "DiM-H-512") else ())
    for name, card in CARDS.items()
    for case in card["cases"]
]
TINY: dict[str, Any] = {"input_size": 8, "sizes": (8,), "hidden_size": 16, "depth": 5, "num_classes": 10}


def config_of(card: dict[str, Any]) -> dim.Config:
    official = card["config"]
    patch = official["patch_size"]
    return dim.Config(
        input_size=official["sample_size"],
        sizes=(official["sample_size"],),
        low_sizes=[math.isqrt(count) * patch for count in official.get("num_patches", [])[1:]],
        patch_size=patch,
        in_channels=official["in_channels"],
        hidden_size=official["hidden_size"],
        depth=official["num_layers"],
        num_classes=official["num_embeds_ada_norm"],
        state_size=official["mamba_d_state"],
        conv_width=official["mamba_d_conv"],
        expand=official["mamba_expand"],
        scan_patterns=official["scan_pattern_len"] + 1,
        pad_rule=official["pad_token_schedules"][1].removesuffix("_pad"),
    )


@functools.lru_cache(maxsize=1)
def golden_model(name: str) -> dim.DiM:
    model = dim.build(config_of(CARDS[name])).eval()
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == CARDS[name]["state_dict"]
    golden_data.fill(model)
    return model


def output(model: dim.DiM, case: dict[str, Any]) -> Tensor:
    y = None if case["y"] is None else torch.tensor(case["y"])
    with torch.no_grad():
        return model(golden_data.latents(*case["x_shape"]), torch.tensor(case["t"]), y)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_outputs_equal_the_official_ones(name: str, case: dict[str, Any]) -> None:
    model = golden_model(name)
    assert params.count(model) == {"params": CARDS[name]["trainable_parameters"], "params_fixed": 0, "params_dead": 0}
    tolerance = GOLDEN_WEIGHTED if "multires" in name else GOLDEN
    golden = golden_data.arrays(f"dim/{case['file']}")["out"]
    assert golden_data.relative_error(output(model, case), golden) < tolerance


@pytest.mark.parametrize("name", ["DiM-tiny-lateral", "DiM-tiny-rho"])
def test_intermediates_equal_the_official_ones(name: str) -> None:
    case = CARDS[name]["cases"][0]
    golden = golden_data.arrays(f"dim/{case['file']}")
    model = dim.build(config_of(CARDS[name])).eval()
    golden_data.fill(model)
    seen: dict[str, Tensor] = {}

    def keep(module: torch.nn.Module, name: str) -> None:
        module.register_forward_hook(lambda _m, _i, out: seen.update({name: out[:1]}))

    keep(model.pos_embed, "patch_embed")
    model.adaln_single.linear.register_forward_hook(lambda _m, _i, out: seen.update(adaln_vector=out[:1]))
    model.a4m_adapter.register_forward_hook(lambda _m, given, _o: seen.update(tokens_before_sequence=given[0][:1]))
    keep(model.a4m_adapter, "sequence_after_padding")
    keep(model.transformer_blocks[0].attn1, "block0_mamba_out")
    for index, block in enumerate(model.transformer_blocks):
        keep(block, f"block{index}_stream")
    model.a4m_adapter.last_smoother.register_forward_hook(
        lambda _m, _i, out: seen.update(tokens_after_finalize=out[:1].flatten(2).transpose(1, 2))
    )
    output(model, case)
    assert seen.keys() == golden.keys() - {"out", "adaln_embedding"}
    for part, tensor in seen.items():
        assert golden_data.relative_error(tensor, golden[part]) < GOLDEN, part
    before_silu = model.adaln_single.linear(F.silu(golden["adaln_embedding"])).flatten(1)
    assert golden_data.relative_error(before_silu.detach(), golden["adaln_vector"]) < GOLDEN


def published_rows() -> list[dict[str, str]]:
    with (golden_data.GOLDEN / "dim-numbers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def row_preset(row: dict[str, str]) -> tuple[str, int]:
    name = {"S": "dim-s2", "L": "dim-l2", "H": "dim-h2"}[row["model"].split("-")[1][0]]
    return name, 32 if name == "dim-s2" else int(row["resolution"])


def counted_by_hand(config: dim.Config) -> tuple[int, int]:
    """(parameters, multiply-adds of one image) from the sizes alone."""
    D, n, p, C, dc, N = (
        1 * config.hidden_size,
        config.depth,
        2,
        config.in_channels,
        config.conv_width,
        config.state_size,
    )
    E, R, side, skips = 2 * D, math.ceil(D / 16), config.input_size // 2, n // 2
    T, length = side**2, 2 + dc + (side + dc) ** 2
    block = 2 * D * E + (dc + 1) * E + E * (R + 2 * N) + R * E + E + E * D + E * N + E + D + 3 * D
    skip = 2 * D * D + (D if D <= 512 else 2 * D)
    condition = (256 * D + D) + (D * D + D) + (3 * D * D + 3 * D) + 2 * (config.num_classes + 1) * D
    grid = (2 + T) * D + 2 * dc * D + 2 * (9 * D + D)
    ends = (p * p * C * D + D) + D + (2 * D * D + 2 * D) + p * p * C * (D + 1)
    mixer = length * (2 * D * E + E * (R + 2 * N) + R * E + E * D + E * dc)
    scan = 4 * length * E * N + 3 * length * E
    macs = n * (mixer + scan) + skips * length * 2 * D * D
    macs += T * D * p * p * C * 2 + 18 * D * T + 256 * D + D * D + 3 * D * D + 2 * D * D
    return n * block + skips * skip + condition + grid + ends, macs


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: f"{row['model']} {row['resolution']}")
def test_counts_equal_the_formula_and_the_recorded_figures(row: dict[str, str]) -> None:
    name, resolution = row_preset(row)
    preset = presets.find(name)
    with shapes_only():
        model = example.built(preset, resolution)
    bill = trace(model, example.inputs(model, 1, "meta"), 1)
    config: dim.Config = model.config
    macs = RULES["macs"].macs(bill)
    by_hand = counted_by_hand(config)
    assert (params.count(model)["params"], macs) == by_hand
    assert by_hand[0] == int(row["params_trainable"])
    # torch saw each convolution's padded end too, and no scan.
    E, length = 2 * config.hidden_size, int(row["sequence_length"])
    ends = config.depth * E * config.conv_width * (config.conv_width - 1)
    scans = config.depth * length * E * (4 * config.state_size + 3)
    assert macs == int(row["macs_torch_flopcounter_half"]) - ends + scans
    # fvcore adds half an operation per element of the official unpatchify's einsum.
    image = config.in_channels * config.input_size**2
    assert RULES["fvcore-fused"].macs(bill) == int(row["macs_fvcore_with_opaque_fused_mixer"]) - image // 2
    if resolution == preset.resolution:
        assert preset.counted == {"params": by_hand[0], "macs": macs}


def test_the_published_figures_come_out() -> None:
    preset = presets.find("dim-h2")
    figures = {256: ("210", "210.73"), 512: ("708", "708.17")}
    assert {claim.resolution: claim.gflops for claim in preset.claims} == {px: f[0] for px, f in figures.items()}
    for resolution, (_, ours) in figures.items():
        with shapes_only():
            model = example.built(preset, resolution)
        bill = trace(model, example.inputs(model, 1, "meta"), 1)
        assert f"{RULES['fvcore-fused'].macs(bill) / 1e9:.2f}" == ours


def test_scan_patterns_turn_forward_down_the_u_and_back_up() -> None:
    chain = dim.patterns(49, 4)
    assert chain[:6] == [0, 1, 2, 3, 0, 1]
    assert chain[24:28] == [0, 3, 2, 1]
    assert chain[-1] == 0
    for depth in (3, 5, 25, 49):
        for count in (1, 2, 3, 4):
            chain = dim.patterns(depth, count)
            assert chain[-1] == 0
            # A skip meets the stream of the block before, in that block's order.
            assert [chain[depth - 2 - k] for k in range(1, depth // 2)] == [chain[k + 1] for k in range(1, depth // 2)]


def test_pads_follow_their_rules() -> None:
    lateral = torch.as_tensor(dim.padded_grid(2, 3, "lateral")).reshape(5, 5)
    rho = torch.as_tensor(dim.padded_grid(2, 3, "rho")).reshape(5, 5)
    patches, pads = [[0, 1], [2, 3]], [4, 5, 6]
    for table in (lateral, rho):
        assert table[:2, :2].tolist() == patches
        assert table[:2, 2:].tolist() == [pads, pads]
    assert lateral[2:].tolist() == [[pad] * 5 for pad in pads]
    assert rho[2:].flatten().tolist() == [pads[k % 3] for k in range(15)]


def test_moves_carry_a_sequence_from_order_to_order() -> None:
    grid = dim.TokenGrid(dim.Config(**TINY), 4, front=5)
    sequence = torch.arange(5 + 49)
    cells = sequence[5:].reshape(7, 7)
    expected = [cells, cells.flatten().flip(0), cells.T, cells.flatten().flip(0), cells]
    for move, order in zip(grid.moves, expected, strict=True):
        sequence = sequence[move]
        assert torch.equal(sequence, torch.cat([torch.arange(5), order.flatten()]))


@pytest.mark.parametrize(("state", "conv", "count"), [(8, 2, 1), (4, 4, 2), (16, 5, 3)])
def test_other_states_pads_and_pattern_counts_work(state: int, conv: int, count: int) -> None:
    config = dim.Config(**TINY, state_size=state, conv_width=conv, scan_patterns=count)
    model = golden_data.fill(dim.build(config)).eval()
    with torch.no_grad():
        out = model(**example.inputs(model, 2))
    assert out.shape == (2, 4, 8, 8)
    assert out.isfinite().all()
    assert model.a4m_adapter.pad_token.shape == (1, 16, conv)
    assert len(model.grids["8"].moves[0]) == 2 + conv + (4 + conv) ** 2


def test_published_sizes_bring_their_settings() -> None:
    settings = {side: dim.Config(input_size=side) for side in (32, 64, 128, 192)}
    assert {side: config.padding for side, config in settings.items()} == {
        32: "lateral",
        64: "rho",
        128: "rho",
        192: "rho",
    }
    assert [config.sides for config in settings.values()] == [(32,), (64,), (128, 64), (192, 96, 64)]
    assert set(dim.skip_weights(settings[64])) == {1.0}
    weights = dim.skip_weights(settings[128])
    assert len(weights) == 24
    assert (weights[0], weights[-1]) == (1.0, pytest.approx(1 - 0.18 / 1000))


def test_positions_are_resized_bilinearly_and_the_condition_keeps_its_own() -> None:
    ramp = torch.arange(4.0).repeat(4, 1).reshape(1, 16, 1)
    table = torch.cat([torch.tensor([[[7.0], [9.0]]]), ramp], dim=1)
    small = dim.resized(table, 2)
    assert small.flatten().tolist() == [7, 9, 0.5, 2.5, 0.5, 2.5]
    assert dim.resized(table, 4) is table


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 96}, "latent of side 96 .* side is 32 or 64 or 128 or 192"),
        ({"input_size": 64, "sizes": [32]}, "side is 32"),
        ({"input_size": 5, "sizes": [5]}, "patches of 2"),
        ({"low_sizes": [15]}, "side 15 cannot be cut"),
        ({"depth": 48}, "depth 48"),
        ({"depth": 1}, "depth 1"),
        ({"hidden_size": 17}, "hidden_size 17"),
        ({"scan_patterns": 5}, "scan_patterns 5"),
        ({"pad_rule": "mirror"}, "pad_rule 'mirror' is unknown; known are auto, lateral, rho"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        dim.Config(**settings)


@pytest.mark.parametrize(("name", "resolution"), [("dim-h2", 768), ("dim-l2", 512), ("dim-s2", 64)])
def test_a_size_without_published_settings_is_refused(name: str, resolution: int) -> None:
    with pytest.raises(UsageError, match=f"{name} at resolution {resolution}: a latent of side"):
        backbone.create_model(name, resolution=resolution)


@pytest.mark.parametrize("shape", [(1, 4, 16, 16), (1, 4, 8, 4)])
def test_an_input_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    model = dim.build(dim.Config(**TINY))
    with pytest.raises(UsageError, match=f"latent of {shape[2]} x {shape[3]} was given to a network for 8 x 8"):
        model(torch.zeros(shape), torch.zeros(1))


def test_only_training_free_models_take_positions_of_another_size() -> None:
    small: dict[str, Any] = {"hidden_size": 16, "depth": 3}
    weights = golden_data.fill(dimbench.create_model("dim-h2", resolution=512, **small)).state_dict()
    model = dimbench.create_model("dim-h2", resolution=1024, **small)
    checkpoints.load_checkpoint(model, weights)
    assert torch.equal(model.additional_embed, dim.resized(weights["additional_embed"], 64))
    with pytest.raises(DimbenchError, match="additional_embed"):
        checkpoints.load_checkpoint(dimbench.create_model("dim-h2", resolution=256, **small), weights)


def test_labels_are_dropped_in_training_from_both_tables_alike() -> None:
    model = dim.build(dim.Config(**TINY, label_dropout=0.5)).train()
    torch.manual_seed(0)
    y, t = torch.zeros(64, dtype=torch.long), torch.zeros(64)
    labels = model._labels(y, t)
    assert set(labels.tolist()) == {0, 10}
    assert torch.equal(model.eval()._labels(y, t), y)
    assert model.label_emb.num_embeddings == 11
    everything = dim.build(dim.Config(**TINY, label_dropout=1.0)).train()
    assert set(everything._labels(y, t).tolist()) == {10}


def test_every_parameter_receives_a_gradient() -> None:
    model = golden_data.fill(dim.build(dim.Config(**TINY))).train()
    model(golden_data.latents(2, 4, 8, 8), torch.tensor([3.0, 900.0]), torch.tensor([1, 2])).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_new_network_starts_as_the_official_one() -> None:
    torch.manual_seed(0)
    state = dim.build(dim.Config(**{**TINY, "hidden_size": 128, "depth": 9, "num_classes": 99})).state_dict()
    assert not state["additional_embed"].any()
    for name in ("adaln_single.emb.timestep_embedder.linear_1.weight", "label_emb.weight"):
        assert state[name].std().item() == pytest.approx(0.02, rel=0.05)
    assert state["transformer_blocks.3.scale_shift_table"].std().item() == pytest.approx(128**-0.5, rel=0.15)
    assert state["a4m_adapter.pad_token"].std().item() == pytest.approx(0.02, rel=0.15)
    bounds = {"attn1.in_proj": 128**-0.5, "attn1.out_proj": 256**-0.5 / 3, "attn1.dt_proj": 8**-0.5}
    for name, bound in bounds.items():
        assert state[f"transformer_blocks.2.{name}.weight"].abs().max().item() == pytest.approx(bound, rel=0.02), name
    assert not state["proj_out_2.bias"].any()
    assert state["transformer_blocks.0.attn1.dt_proj.bias"].max() < -2  # softplus gives steps of at most 0.1
    assert state["proj_out_2.weight"].any()
    assert state["a4m_adapter.first_smoother.bias"].any()


def test_only_the_training_free_sizes_are_upsampled() -> None:
    preset = presets.find("dim-h2")
    factors = {pixels: example.of(preset, pixels).config.upsample_factor for pixels in (256, 512, 1024, 1536)}
    assert factors == {256: 1, 512: 1, 1024: 2, 1536: 3}
