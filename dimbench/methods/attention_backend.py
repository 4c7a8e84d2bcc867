from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench import names
from dimbench.methods.method import Method, OnStep, no_effect, refuse, replaced

if TYPE_CHECKING:
    from torch import Tensor, nn

# What of torch's own kernels each word means.
TORCH = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}
OTHERS = ("flex", "sage")


@dataclass(frozen=True)
class AttentionBackend(Method):
    """Every scaled dot product attention of the network runs in one kernel. It is chosen where torch dispatches, for
    networks of diffusers too, and lasts as long as a call of the network."""

    backend: str = "math"

    name: ClassVar[str] = "attention"
    changes: ClassVar[str] = "the kernel of attention"
    says: ClassVar[str] = "attention by one kernel: flash, efficient, cudnn, math, flex or sage"
    wraps: ClassVar[str] = "networks that call scaled_dot_product_attention"
    source: ClassVar[str] = "torch.nn.attention; SageAttention, arXiv 2410.02367"

    def __post_init__(self) -> None:
        names.find(self.backend, dict.fromkeys((*TORCH, *OTHERS)), "backend of attention")

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        inside, around = self._replacing(network), self._around(network)
        watch = _Watch(inside)
        forward = network.forward

        def whole(*args: Any, **kwargs: Any) -> Any:
            with around(), watch.on():
                return forward(*args, **kwargs)

        with replaced(network, whole):
            yield lambda k: None
        if not watch.seen:
            raise no_effect(self, f"{type(network).__name__} calls no scaled_dot_product_attention")

    def _replacing(self, network: nn.Module) -> Callable[..., Tensor] | None:
        """What takes the place of torch's own, None where that stays. UsageError where it cannot run here."""
        import torch

        weight = next(network.parameters(), torch.empty(0))
        if self.backend == "sage" and find_spec("sageattention") is None:
            raise refuse(self, network, "sage needs the package sageattention, which is not installed")
        if self.backend in TORCH or weight.is_meta:  # by shapes alone the products are the same
            return None
        if self.backend == "sage":
            from sageattention import sageattn

            return sageattn
        if not weight.is_cuda:
            raise refuse(self, network, "flex runs its compiled kernels on a GPU alone; give math or flash here")
        from torch.nn.attention.flex_attention import flex_attention

        return torch.compile(flex_attention)

    def _around(self, network: nn.Module) -> Callable[[], AbstractContextManager[None]]:
        """Inside, torch has no other kernel. UsageError where this one cannot run here, which torch says only when it
        is called."""
        import torch

        weight = next(network.parameters(), torch.empty(0))
        if self.backend not in TORCH or weight.is_meta:
            return nullcontext
        dtype = weight.dtype if weight.is_floating_point() else torch.float32
        x = torch.zeros(1, 1, 8, 64, device=weight.device, dtype=dtype)
        try:
            with _kernel(self.backend):
                torch.nn.functional.scaled_dot_product_attention(x, x, x)
        except RuntimeError as error:
            why = f"{self.backend} cannot run on {weight.device.type} in {str(dtype).removeprefix('torch.')}"
            raise refuse(self, network, f"{why} ({str(error).splitlines()[0].rstrip('. ')})") from None
        return lambda: _kernel(self.backend)


class _Watch:
    """Sees whether attention is called at all, and puts `instead` in its place where there is one."""

    def __init__(self, instead: Callable[..., Tensor] | None) -> None:
        self.instead = instead
        self.seen = 0

    def on(self) -> AbstractContextManager[Any]:
        """Around a call of the network; once attention was seen there is nothing more to look at."""
        from torch.overrides import TorchFunctionMode

        if self.seen and self.instead is None:
            return nullcontext()
        watch = self

        class Watched(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if getattr(func, "__name__", "") == "scaled_dot_product_attention":
                    watch.seen += 1
                    func = watch.instead or func
                return func(*args, **(kwargs or {}))

        return Watched()


def _kernel(backend: str) -> AbstractContextManager[None]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel([getattr(SDPBackend, TORCH[backend])])
