from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Applied, Method, OnStep, check_range, replaced
from dimbench.methods.reuse import linears

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class FakeQuantisation(Method):
    """Weights of the blocks' linear layers rounded for each output channel and their inputs for each token, evenly and
    with zero in the middle; the products are computed as before, so that only values change and no time.

    With `calibrate` so many images are drawn first, plainly, and input channels whose largest values are large are
    scaled down, at the cost of their weights, as Wu et al. 2024 balance them over the steps of a run. They learn the
    rounding of weights block by block after that, which is left out: here it is to the nearest."""

    calibrate: int = 0

    changes: ClassVar[str] = "the numbers of the linear layers"
    place: ClassVar[int] = 0
    wraps: ClassVar[str] = "blocks with linear layers"
    source: ClassVar[str] = "rounding to nearest; balancing of PTQ4DiT, arXiv 2405.16005, without its reconstruction"
    timed: ClassVar[bool] = False
    weight_bits: ClassVar[int]
    activation_bits: ClassVar[int] = 8

    def __post_init__(self) -> None:
        check_range(self, "calibrate", 0)

    def __str__(self) -> str:
        return super().__str__() if self.calibrate else self.name

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(), cls(calibrate=16)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        with self._rounded(network, {}) as tell:
            yield tell

    def prepared(self, network: nn.Module, draw: Callable[[int], object]) -> Applied:
        found = linears(self, network)
        if not self.calibrate or found[0].weight.is_meta:  # of shapes alone the products are as many
            return self.applied
        largest: dict[int, list[Tensor]] = {id(linear): [] for linear in found}
        with ExitStack() as stack:
            for linear in found:
                stack.enter_context(replaced(linear, _noting(linear, largest[id(linear)])))
            draw(self.calibrate)
        scales = {id(linear): balance(largest[id(linear)], linear.weight) for linear in found if largest[id(linear)]}
        return partial(self._rounded, scales=scales)

    @contextmanager
    def _rounded(self, network: nn.Module, scales: dict[int, Tensor]) -> Iterator[OnStep]:
        """`scales` of the inputs of layers, by their id; one where there is none."""
        with ExitStack() as stack:
            for linear in linears(self, network):
                stack.enter_context(replaced(linear, self._rounding(linear, scales.get(id(linear)))))
            yield lambda k: None

    def _rounding(self, linear: nn.Linear, scale: Tensor | None) -> Callable[[Tensor], Tensor]:
        from torch.nn import functional as F

        weight = linear.weight.detach()
        weight = rounded(weight if scale is None else weight / scale, self.weight_bits)

        def forward(input: Tensor) -> Tensor:
            x = input if scale is None else input * scale
            return F.linear(rounded(x, self.activation_bits), weight, linear.bias)

        return forward


class FakeW8A8(FakeQuantisation):
    name: ClassVar[str] = "fake-w8a8"
    says: ClassVar[str] = "weights and activations rounded to 8 bits: quality alone, its time means nothing"
    weight_bits: ClassVar[int] = 8


class FakeW4A8(FakeQuantisation):
    name: ClassVar[str] = "fake-w4a8"
    says: ClassVar[str] = "weights rounded to 4 bits, activations to 8: quality alone, its time means nothing"
    weight_bits: ClassVar[int] = 4


def rounded(x: Tensor, bits: int) -> Tensor:
    """x (..., D) on a grid of 2^bits - 1 values for each row, from its largest magnitude down."""
    most = 2 ** (bits - 1) - 1
    step = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / most
    return (x / step).round().clamp(-most, most) * step


def balance(largest: Sequence[Tensor], weight: Tensor) -> Tensor:
    """What the D input channels of a layer are multiplied by, and its `weight` (E, D) divided by, so that the largest
    magnitudes of both become their geometric mean. `largest` holds those of the inputs (D,) in each call; they are
    averaged with more weight on calls whose order is less that of the weights, by Spearman's rank correlation."""
    import torch

    seen, own = torch.stack(list(largest)), weight.detach().abs().amax(dim=0).float()
    correlations = torch.stack([spearman(call, own) for call in seen])
    inputs = torch.softmax(-correlations, dim=0) @ seen
    return (own.clamp(min=1e-5) / inputs.clamp(min=1e-5)).sqrt().to(weight.dtype)


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """The correlation of the ranks of x and y (D,)."""
    ranks = [values.argsort().argsort().to(values.dtype) for values in (x, y)]
    first, second = (rank - rank.mean() for rank in ranks)
    return (first @ second) / (first.norm() * second.norm()).clamp(min=1e-12)


def _noting(linear: nn.Linear, largest: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """The layer's forward, which notes the largest magnitude of each input channel."""
    forward = linear.forward

    def call(input: Tensor) -> Tensor:
        if input.numel():  # a router may have chosen no token
            largest.append(input.detach().abs().flatten(0, -2).amax(dim=0).float())
        return forward(input)

    return call
