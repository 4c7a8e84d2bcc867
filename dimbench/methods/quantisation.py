from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from dimbench.methods.method import Method, OnStep, refuse, replaced
from dimbench.methods.reuse import linears

if TYPE_CHECKING:
    from torch import nn

_MADE: WeakKeyDictionary[nn.Module, dict[str, nn.Module]] = WeakKeyDictionary()


class Quantisation(Method):
    """The blocks' linear layers by torchao, which computes in the `numbers` that it says. The network's own weights
    stay beside the rounded ones, so that a run without the method can follow."""

    changes: ClassVar[str] = "the numbers of the linear layers"
    place: ClassVar[int] = 0
    wraps: ClassVar[str] = "blocks with linear layers; needs the extra `quant`"
    source: ClassVar[str] = "torchao"
    converts: ClassVar[bool] = True
    config: ClassVar[str]

    @classmethod
    def absent(cls) -> str:
        return "" if find_spec("torchao") else 'torchao is not installed; pip install "dimbench[quant]"'

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        if missing := self.absent():
            raise refuse(self, network, missing)
        found = linears(self, network)
        with ExitStack() as stack:
            for linear in found:
                if not linear.weight.is_meta:  # of shapes alone the products are as many
                    stack.enter_context(replaced(linear, self._made(network, linear).forward))
            yield lambda k: None

    def _made(self, network: nn.Module, linear: nn.Linear) -> nn.Module:
        """The layer rounded, made once. UsageError where that cannot be here, in torchao's words."""
        known = _MADE.setdefault(linear, {})
        if self.name not in known:
            from torch import nn

            quantization = _torchao()
            whole = nn.Sequential(copy.deepcopy(linear))
            vars(whole[0]).pop("forward", None)
            try:
                quantization.quantize_(whole, self._settings(linear.weight.device.type))
            except (ImportError, AssertionError, RuntimeError, NotImplementedError, ValueError) as error:
                why = (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
                raise refuse(self, network, f"torchao cannot do it on {linear.weight.device.type} ({why})") from None
            if type(whole[0].weight) is type(linear.weight):
                size = f"{linear.in_features} to {linear.out_features}"
                raise refuse(self, network, f"torchao leaves a linear layer of {size} features as it is")
            known[self.name] = whole[0]
        return known[self.name]

    def _settings(self, device: str) -> Any:
        """torchao's configuration for a device of this type."""
        from torchao import quantization

        return getattr(quantization, self.config)()


def _torchao() -> Any:
    """Its quantization. What torch tells torchao's authors of their code when it is loaded is not for its users."""

    def for_users(record: logging.LogRecord) -> bool:
        return "register_constant() on Enum" not in record.getMessage()

    log = logging.getLogger("torch.utils._pytree")
    log.addFilter(for_users)
    try:
        from torchao import quantization
    finally:
        log.removeFilter(for_users)
    return quantization


class Int8Weights(Quantisation):
    name: ClassVar[str] = "int8-weights"
    says: ClassVar[str] = "weights kept in 8 bits, products in the network's own numbers"
    config: ClassVar[str] = "Int8WeightOnlyConfig"


class Int8(Quantisation):
    name: ClassVar[str] = "int8"
    says: ClassVar[str] = "weights and, token by token, activations in 8 bits: products of int8"
    config: ClassVar[str] = "Int8DynamicActivationInt8WeightConfig"
    numbers: ClassVar[str] = "int8"


class Int4Weights(Quantisation):
    name: ClassVar[str] = "int4-weights"
    says: ClassVar[str] = "weights kept in 4 bits, products in the network's own numbers"
    config: ClassVar[str] = "Int4WeightOnlyConfig"

    def _settings(self, device: str) -> Any:
        if device != "cpu":
            return super()._settings(device)
        # Of torchao 0.18 the one that a processor computes, in groups as small as it takes, that most widths fit.
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        return PrototypeInt4WeightOnlyConfig(group_size=32, set_inductor_config=False)


class Float8(Quantisation):
    name: ClassVar[str] = "fp8"
    says: ClassVar[str] = "weights and activations in 8-bit floats, on a GPU that has them"
    config: ClassVar[str] = "Float8DynamicActivationFloat8WeightConfig"
    numbers: ClassVar[str] = "fp8"
