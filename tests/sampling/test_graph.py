"""What surrounds a CUDA graph; recording one needs a GPU, so a call that writes to one place stands in for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dimbench.layers.inputs import Given
from dimbench.sampling import graph


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The outputs of the stand-in's graphs, one per recording."""
    outputs: list[Tensor] = []

    def captured(call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        outputs.append(call())
        place = outputs[-1]
        return lambda: place.copy_(call()), place

    monkeypatch.setattr(graph, "captured", captured)
    return outputs


def network(x: Tensor, t: Tensor, given: Given) -> Tensor:
    return given["sign"] * (x * t[:, None] + given["y"][:, None])


def inputs(count: int, value: float) -> tuple[Tensor, Tensor, Given]:
    y = torch.full((count,), int(value))
    return torch.full((count, 3), value), torch.full((count,), value), {"y": y, "sign": 1}


def test_replays_see_new_inputs_and_leave_earlier_outputs_alone(recorded: list[Tensor]) -> None:
    graphed = graph.Graphed(network)
    first, second = graphed(*inputs(2, 2.0)), graphed(*inputs(2, 3.0))
    assert first.eq(6).all()
    assert second.eq(12).all()
    assert len(recorded) == 1


def test_each_shape_has_a_graph_of_its_own(recorded: list[Tensor]) -> None:
    graphed = graph.Graphed(network)
    for count in (2, 4, 2):
        assert graphed(*inputs(count, 2.0)).shape == (count, 3)
    assert len(recorded) == 2


def test_a_replay_does_not_write_to_what_earlier_calls_gave(recorded: list[Tensor]) -> None:
    graphed, (x, t, given) = graph.Graphed(network), inputs(2, 2.0)
    graphed(x, t, given)
    graphed(*inputs(2, 5.0))
    assert x.eq(2).all()
