"""diffusers' own caches, which hook its networks: a call runs in a cache context, and after a run no hook is left.

Some of them say nothing where they know none of a network's parts, and leave it as it is; that is an error here.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.errors import DimbenchError, UsageError, plain
from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.pace import first_of

if TYPE_CHECKING:
    from torch import nn


class DiffusersHooks(Method):
    """A cache that `hooked` puts on a network of diffusers, asking which call it is, 0 for the first."""

    changes: ClassVar[str] = "what the blocks compute"
    wraps: ClassVar[str] = "networks of diffusers whose parts its hook knows"

    @abstractmethod
    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        """Put the hooks on. ValueError or IndexError where diffusers cannot."""

    @property
    @abstractmethod
    def neutral(self) -> bool:
        """Whether it leaves nothing out by its settings."""

    def around(self, network: nn.Module, calls: _Calls) -> Callable[..., Any]:
        """The hooked network's forward as it is called."""
        return network.forward

    def check_calls(self, made: int) -> None:
        """Raise DimbenchError where its settings are for runs of another number of calls."""

    @classmethod
    def absent(cls) -> str:
        return "" if find_spec("diffusers") else "diffusers is not installed"

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        if not type(network).__module__.startswith("diffusers."):
            raise refuse(self, network, "it is no network of diffusers")
        from diffusers.models.cache_utils import CacheMixin

        from dimbench.diffusers_networks.loading import quietly

        context: Callable[..., AbstractContextManager[None]] = CacheMixin.cache_context  # of any module
        with _as_before(network):
            calls = _Calls()
            try:
                with quietly():
                    self.hooked(network, lambda: calls.made - 1)
            except (ValueError, IndexError) as error:
                raise refuse(self, network, f"diffusers cannot hook it ({plain(error).rstrip('.')})") from None
            if not calls.watched(network):
                raise refuse(self, network, "the hook knows none of its parts")
            forward = self.around(network, calls)

            def whole(*args: Any, **kwargs: Any) -> Any:
                calls.begin(self, tuple(first_of(args, kwargs).shape))
                vars(network)["kind_of_call"] = calls.made  # a hook counts its calls itself: none may be left out
                try:
                    with context(network, "run"):
                        return forward(*args, **kwargs)
                except (TypeError, AttributeError, KeyError) as error:
                    raise refuse(self, network, f"diffusers fails within its hook ({plain(error)})") from None

            with replaced(network, whole):
                try:
                    yield lambda k: None
                finally:
                    vars(network).pop("kind_of_call", None)
        if not self.neutral:
            calls.check(self)
        self.check_calls(calls.made)


class _Calls:
    """Of a run the network's calls, the shape of its x, and how often each hooked part computed."""

    def __init__(self) -> None:
        self.made = 0
        self.shape: tuple[int, ...] = ()
        self.computed: Counter[int] = Counter()

    def begin(self, method: Method, shape: tuple[int, ...]) -> None:
        """A call begins. DimbenchError where it has other rows than those before, which the hooks mix up."""
        if self.shape not in ((), shape):
            raise DimbenchError(
                f"--with {method} needs calls of one shape, and this run has several; leave out its other methods"
            )
        self.made, self.shape = self.made + 1, shape

    def watched(self, network: nn.Module) -> bool:
        """Count from now on what the hooked parts of the network compute; whether there are any."""
        for part in network.modules():
            registry = getattr(part, "_diffusers_hook", None)
            for hook in registry.hooks.values() if registry and part is not network else ():
                self.computed[id(part)] = 0
                hook.fn_ref.original_forward = self._counting(id(part), hook.fn_ref.original_forward)
        return bool(self.computed)

    def watch_rows(self, network: nn.Module, called: Any) -> Callable[[int], None]:
        """Count from now on the calls of the network that compute all their rows, and note in it how many rows each
        left out; told before a call how many it has."""
        whole, forward = 0, called.original_forward
        self.computed[id(network)] = 0

        def begin(rows: int) -> None:
            nonlocal whole
            whole = rows

        def call(*args: Any, **kwargs: Any) -> Any:
            left_out = whole - len(first_of(args, kwargs))
            self.computed[id(network)] += left_out == 0
            vars(network)["rows_left_out"] = left_out
            return forward(*args, **kwargs)

        called.original_forward = call
        return begin

    def _counting(self, part: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.computed[part] += 1
            return forward(*args, **kwargs)

        return call

    def check(self, method: Method) -> None:
        """Raise DimbenchError where no part was left out, or those that were in every call but the first."""
        left_out = [times for times in self.computed.values() if times < self.made]
        if not left_out:
            raise no_effect(method, "every part computed in every call")
        if max(left_out) <= 1:
            raise skipped_all(method, self.made, "call")


@contextmanager
def _as_before(network: nn.Module) -> Iterator[None]:
    """At the end no part holds a hook, or another forward than before."""
    before = {part: vars(part).get("forward") for part in network.modules()}
    try:
        yield
    finally:
        for part, forward in before.items():
            for name in ("forward", "_diffusers_hook"):
                vars(part).pop(name, None)
            if forward is not None:
                part.forward = forward


@dataclass(frozen=True)
class DiffusersFirstBlock(DiffusersHooks):
    """Its FirstBlockCache: the other blocks are left out while the first one's output changes by under `threshold`."""

    threshold: float = 0.05

    name: ClassVar[str] = "diffusers-first-block"
    says: ClassVar[str] = "diffusers' FirstBlockCache: all blocks but the first left out by a `threshold`"
    by_values: ClassVar[bool] = True
    source: ClassVar[str] = "diffusers.FirstBlockCacheConfig"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)

    @property
    def neutral(self) -> bool:
        return self.threshold == 0

    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache

        apply_first_block_cache(network, FirstBlockCacheConfig(threshold=self.threshold))


@dataclass(frozen=True)
class DiffusersPyramid(DiffusersHooks):
    """Its PyramidAttentionBroadcast: self-attention in one call of `every`; at all times, for its own range of them is
    one of DDPM's."""

    every: int = 2

    name: ClassVar[str] = "diffusers-pab"
    says: ClassVar[str] = "diffusers' PyramidAttentionBroadcast: self-attention computed in one call of `every`"
    source: ClassVar[str] = "diffusers.PyramidAttentionBroadcastConfig, arXiv 2408.12588"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)

    @property
    def neutral(self) -> bool:
        return self.every == 1

    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast

        config = PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=self.every,
            spatial_attention_timestep_skip_range=(-1, 1),
            current_timestep_callback=lambda: 0,
        )
        apply_pyramid_attention_broadcast(network, config)


@dataclass(frozen=True)
class DiffusersFaster(DiffusersHooks):
    """Its FasterCache: attention computed in one call of `every`, in between continued by half of its last change; and
    the unguided half in one call of `unguided`, in between rebuilt from the guided one and its last difference to it,
    whose low and high frequencies grow by these factors in each of these calls: at all times, for its own ranges of
    them are DDPM's. Attention is continued in the calls without an unguided half alone."""

    every: int = 2
    unguided: int = 1
    low: float = 1.1
    high: float = 1.1

    name: ClassVar[str] = "diffusers-faster"
    says: ClassVar[str] = (
        "diffusers' FasterCache: attention in one call of `every`, the unguided half in one of `unguided`"
    )
    source: ClassVar[str] = "diffusers.FasterCacheConfig, arXiv 2410.19355"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)
        check_range(self, "unguided", 1)
        check_range(self, "low", 0)
        check_range(self, "high", 0)

    def __str__(self) -> str:
        return super().__str__() if self.unguided > 1 else f"{self.name}:every={self.every}"

    @property
    def neutral(self) -> bool:
        return self.every == self.unguided == 1

    @property
    def of_guidance(self) -> bool:  # type: ignore[override]
        return self.unguided > 1

    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        from diffusers.hooks import FasterCacheConfig, apply_faster_cache

        config = FasterCacheConfig(
            spatial_attention_block_skip_range=self.every,
            spatial_attention_timestep_skip_range=(-1, 1),
            attention_weight_callback=lambda part: 0.5,
            is_guidance_distilled=self.unguided == 1,
            unconditional_batch_skip_range=self.unguided,
            unconditional_batch_timestep_skip_range=(-1, 1),
            low_frequency_weight_callback=lambda network: self.low,
            high_frequency_weight_callback=lambda network: self.high,
            tensor_format="BCHW",
            current_timestep_callback=lambda: 0 if call() else 1,  # there is nothing to reuse in the first
        )
        apply_faster_cache(network, config)

    def around(self, network: nn.Module, calls: _Calls) -> Callable[..., Any]:
        """Told the unguided half first, as diffusers' pipelines have it."""
        forward = network.forward
        if self.unguided == 1:
            return forward
        registry: Any = network._diffusers_hook
        hook = registry.hooks["faster_cache_denoiser"]
        rows = calls.watch_rows(network, hook.fn_ref)

        def call(*args: Any, **kwargs: Any) -> Any:
            import torch

            if vars(network).get("halves") != 2:
                raise refuse(self, network, "calls of this run have no unguided half")
            x = first_of(args, kwargs)
            if x.ndim < 4:
                raise refuse(self, network, "its samples are no maps (N, C, h, w), which have frequencies")

            def of_rows(value: Any) -> bool:
                return hasattr(value, "is_meta") and value.ndim > 0 and len(value) == len(x)

            def turned(value: Any) -> Any:
                return torch.cat(value.chunk(2)[::-1]) if of_rows(value) else value

            if any(isinstance(value, (dict, list)) for value in (*args, *kwargs.values())):
                raise refuse(self, network, "diffusers' cache does not halve what it is told as a dict or a list")
            hook.uncond_cond_input_kwargs_identifiers = [name for name, value in kwargs.items() if of_rows(value)]
            rows(len(x))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.meshgrid")  # of diffusers' own code
                output = forward(*map(turned, args), **{name: turned(value) for name, value in kwargs.items()})
            return (turned(output[0]), *output[1:]) if isinstance(output, tuple) else turned(output)

        return call


@dataclass(frozen=True)
class DiffusersTaylor(DiffusersHooks):
    """Its TaylorSeer: attention in the first `before` calls and then in one of `every`, else by a series of `order`, in
    float32."""

    every: int = 5
    order: int = 1
    before: int = 3

    name: ClassVar[str] = "diffusers-taylor"
    says: ClassVar[str] = "diffusers' TaylorSeer: attention in `before` calls, then in one of `every`"
    source: ClassVar[str] = "diffusers.TaylorSeerCacheConfig, arXiv 2503.06923"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)
        check_range(self, "order", 0, 4)
        check_range(self, "before", 1)

    @property
    def neutral(self) -> bool:
        return self.every == 1

    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        import torch
        from diffusers.hooks import TaylorSeerCacheConfig, apply_taylorseer_cache

        config = TaylorSeerCacheConfig(
            cache_interval=self.every,
            disable_cache_before_step=self.before,
            max_order=self.order,
            taylor_factors_dtype=torch.float32,
        )
        apply_taylorseer_cache(network, config)


@dataclass(frozen=True)
class DiffusersMag(DiffusersHooks):
    """Its MagCache: all blocks are left out while the errors that the `ratios` foresee, one for each call, add up to
    less than `threshold`, at most `most` calls in a row, and not in the first share `kept` of the calls."""

    ratios: str = ""
    threshold: float = 0.06
    most: int = 3
    kept: float = 0.2

    name: ClassVar[str] = "diffusers-mag"
    says: ClassVar[str] = "diffusers' MagCache: all blocks left out by `ratios` that its calibration found, 1/1.2/1.1"
    source: ClassVar[str] = "diffusers.MagCacheConfig, arXiv 2506.09045"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)
        check_range(self, "most", 0)
        check_range(self, "kept", 0, 1)
        try:
            found = self.values
        except ValueError:
            found = []
        if not found:
            raise UsageError(
                f"--with {self.name}: ratios={self.ratios} are no numbers; give one for each call of the network, such "
                "as ratios=1/1.2/1.1, as diffusers' calibrate=True finds them for a network and its sampler"
            )

    @property
    def values(self) -> list[float]:
        return [float(part) for part in self.ratios.split("/")]

    def check_calls(self, made: int) -> None:
        if made != len(self.values):
            raise DimbenchError(
                f"--with {self}: {len(self.values)} ratios are for as many calls, and this one had {made}; give "
                "one for each"
            )

    @property
    def neutral(self) -> bool:
        return self.most == 0

    @classmethod
    def points(cls, times: Any) -> list[Method]:
        return []

    def hooked(self, network: nn.Module, call: Callable[[], int]) -> None:
        import torch
        from diffusers.hooks import MagCacheConfig, apply_mag_cache

        config = MagCacheConfig(
            threshold=self.threshold,
            max_skip_steps=self.most,
            retention_ratio=self.kept,
            num_inference_steps=len(self.values),
            mag_ratios=torch.tensor(self.values, device="cpu"),
        )
        apply_mag_cache(network, config)
