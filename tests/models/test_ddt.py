"""DDT against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.diffusion.flow import Flow
from dimbench.diffusion.guidance import guided, within
from dimbench.errors import UsageError
from dimbench.methods.state import State
from dimbench.models import ddt
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives


def network(name: str) -> Any:
    return relatives.filled(ddt, golden.card(f"relatives/{name}.json"))


CASES = [
    case
    for case in relatives.cases("ddt-tiny", "ddt-b-2-8en4de")
    if case.id.removesuffix(".npz").endswith(("-a", "-rect"))
]


@pytest.mark.parametrize(("name", "file"), CASES)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    with torch.no_grad():
        relatives.agree(network(name)(*relatives.halves(case)), file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("ddt-tiny", "ddt-tiny-a.npz")
    model = network("ddt-tiny")
    parts = {name: getattr(model, name) for name in ("x_embedder", "s_embedder", "t_embedder", "y_embedder")}
    blocks = {"block_0": model.blocks[0], "last_encoder_block": model.blocks[1], "last_block": model.blocks[-1]}
    x, t, y = relatives.halves(case)
    with torch.no_grad(), relatives.watched({**parts, **blocks, "final_layer": model.final_layer}) as seen:
        seen["state"] = model.encode(x, t, y)
        model(x, t, y)
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


def test_a_state_made_before_is_all_that_the_decoder_knows() -> None:
    _, case = relatives.card_and_case("ddt-tiny", "ddt-tiny-reuse.npz")
    file, array = case["state_from"].split(":")
    with torch.no_grad():
        ours = network("ddt-tiny").decode(golden.latents(*case["x_shape"]), golden.arrays(f"relatives/{file}")[array])
    relatives.agree(ours, case["file"])


@pytest.mark.parametrize("file", ["ddt-tiny-euler.npz", "ddt-tiny-euler-reuse.npz"])
def test_samples_of_the_official_sampler(file: str) -> None:
    _, case = relatives.card_and_case("ddt-tiny", file)
    low, high = case["guidance_interval_min"], case["guidance_interval_max"]
    model = network("ddt-tiny")
    pair = guided(lambda x, t, y: model(x, t, y), within(case["guidance"], low, high), None)
    y = torch.cat([torch.tensor(case["y"]), torch.full((2,), 10)])
    # theirs divides by the shift where ours multiplies
    flow = Flow(grid="leap", stop=1 - case["last_step"], shift=1 / case["timeshift"])
    x = golden.latents(*case["x_shape"])
    with State(every=case["state_refresh_rate"]).applied(model) as step:
        ours = flow.sample(
            lambda x, t: pair(x.repeat(2, 1, 1, 1), t.repeat(2), y)[:2],
            x,
            golden.noise,
            "euler",
            case["num_steps"],
            on_step=lambda k, _: step(k + 1),
        )
    relatives.agree(ours, file)


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize(("size", "split"), [("B", "8en4de"), ("L", "20en4de"), ("XL", "22en6de")])
def test_counts_of_the_official_model(size: str, split: str, resolution: int) -> None:
    relatives.check_counts(f"ddt-{size}2", f"DDT-{size}/2 {split}", resolution)


def test_a_checkpoint_of_the_authors_holds_the_average_under_its_name() -> None:
    model = network("ddt-tiny")
    state = model.state_dict()
    named = {f"ema_denoiser.{name}": tensor for name, tensor in state.items()}
    others = {f"denoiser.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
    whole = {"state_dict": {**others, **named, "diffusion_trainer.proj.0.weight": torch.zeros(2, 2)}}
    fresh = load_checkpoint(ddt.build(model.config), whole)
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "9 .* patches of 2"),
        ({"hidden_size": 72}, "hidden_size 72 .* multiple of 64"),
        ({"num_encoder_blocks": 28}, "28 of 28 .* give 1 to 27"),
        ({"num_encoder_blocks": 0}, "num_encoder_blocks 0 .* at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ddt.Config(**settings)
