"""CUDA graphs: the launches of a call are recorded once and replayed, where the host is slower than its GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dimbench.diffusion.guidance import ConditionedNetwork
from dimbench.layers.inputs import Given

WARM_UP_CALLS = 3


def captured(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """(replay, the tensor that every replay fills with the output), recorded after calls on a stream of their own, as
    torch's manual has it. What the call reads must stay where it is."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()
    return graph.replay, output


class Graphed:
    """`network`, replayed from one graph for each shape of its inputs; an output stays as it is when the next comes."""

    def __init__(self, network: ConditionedNetwork) -> None:
        self.network = network
        self.graphs: dict[tuple[object, ...], tuple[list[Tensor], Callable[[], None], Tensor]] = {}

    def __call__(self, x: Tensor, t: Tensor, given: Given) -> Tensor:
        moving = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        tensors = [x, t, *moving.values()]
        key = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self.graphs:
            kept = [tensor.clone() for tensor in tensors]
            told = {**given, **dict(zip(moving, kept[2:], strict=True))}
            self.graphs[key] = (kept, *captured(lambda: self.network(kept[0], kept[1], told)))
        kept, replay, output = self.graphs[key]
        for place, tensor in zip(kept, tensors, strict=True):
            place.copy_(tensor)
        replay()
        return output.clone()
