from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep, replaced
from dimbench.methods.reuse import linears

if TYPE_CHECKING:
    from torch import Tensor, nn


class FakeQuantisation(Method):
    """Weights of the blocks' linear layers rounded for each output channel and their inputs for each token, evenly and
    with zero in the middle; the products are computed as before, so that only values change and no time."""

    changes: ClassVar[str] = "the numbers of the linear layers"
    wraps: ClassVar[str] = "blocks with linear layers"
    source: ClassVar[str] = "rounding to nearest, as the baselines of PTQ4DiT, arXiv 2405.16005"
    timed: ClassVar[bool] = False
    weight_bits: ClassVar[int]
    activation_bits: ClassVar[int] = 8

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        with ExitStack() as stack:
            for linear in linears(self, network):
                stack.enter_context(replaced(linear, self._rounding(linear)))
            yield lambda k: None

    def _rounding(self, linear: nn.Linear) -> Callable[[Tensor], Tensor]:
        from torch.nn import functional as F

        weight = rounded(linear.weight.detach(), self.weight_bits)
        return lambda x: F.linear(rounded(x, self.activation_bits), weight, linear.bias)


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
