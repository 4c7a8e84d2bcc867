from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.errors import UsageError
from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.pace import first_of
from dimbench.methods.reuse import CALLED_AGAIN, CHANGED, Untouched, attentions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.methods.reuse import Branch

GREEDY = "greedy"
SEVERAL = "its attention gives more than one tensor"
# The cheapest first, as the calibration tries them.
SAVINGS = {"s": "the last step's output again", "c": "the guided half's output for both", "w": "a window and what the "
           "window left out when attention was last whole"}  # fmt: skip


@dataclass(frozen=True)
class FastAttention(Method):
    """Yuan et al. 2024, for the attention of every block: in step k the letter k of `plan`, over and over. f is whole
    attention; w attention within `window` tokens plus what that left out when attention was last whole; s what the last
    step gave; c, in a guided call, what the half with a condition gave for both. "greedy" finds a letter for each
    attention in the first `trials` steps, which are whole: the cheapest whose output was off by less than `threshold`,
    relative L2; every `trials`-th step is whole after that. A window is among the image's tokens: those before them, or
    of a text, see all and are seen by all (Zhang et al. 2025, arXiv 2503.22796)."""

    plan: str = "fws"
    window: int = 64
    threshold: float = 0.1
    trials: int = 3

    name: ClassVar[str] = "fast-attn"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "attention in a window, from the last step, or from the guided half, by a plan or greedily"
    wraps: ClassVar[str] = "blocks with self-attention, or that of a text and the image, as a part"
    source: ClassVar[str] = "DiTFastAttn, arXiv 2406.08552"

    def __post_init__(self) -> None:
        if self.plan != GREEDY and (not self.plan or set(self.plan) - set("fwsc") or self.plan[0] != "f"):
            raise UsageError(
                f"--with {self.name}: plan={self.plan} is not understood; give letters f, w, s and c, f "
                f"first, such as fws, or {GREEDY}"
            )
        check_range(self, "window", 1)
        check_range(self, "threshold", 0)
        check_range(self, "trials", 2)

    @property
    def by_values(self) -> bool:  # type: ignore[override]
        return self.plan == GREEDY

    @property
    def of_guidance(self) -> bool:  # type: ignore[override]
        return "c" in self.plan

    @property
    def looks_inside(self) -> bool:
        """Whether what a window leaves out is kept."""
        return self.plan == GREEDY or "w" in self.plan

    @property
    def reuses(self) -> bool:
        """Whether what an attention gives is kept for another step."""
        return self.plan == GREEDY or "s" in self.plan

    def excludes(self, other: Method) -> str:
        if other.place == 1 and self.looks_inside:
            return "cannot keep each token at its place within a window"
        return super().excludes(other)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(plan="fs"), cls(plan="fc"), cls(plan=GREEDY)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        parts = [_Part(self, network, branch, branch.part.forward) for branch in attentions(self, network)]
        now = _Now(self)
        forward = network.forward

        def whole(*args: Any, **kwargs: Any) -> Any:
            now.begin(first_of(args, kwargs), getattr(network, "halves", 1))
            vars(network)["kind_of_call"] = now.kind
            return forward(*args, **kwargs)

        with ExitStack() as stack:
            stack.enter_context(replaced(network, whole))
            for part in parts:
                stack.enter_context(replaced(part.branch.part, part.bound(now)))
            try:
                yield now.tell
            finally:
                vars(network).pop("kind_of_call", None)
        saved = any(part.saved for part in parts)
        if not saved and self.plan != "f" * len(self.plan):
            raise no_effect(self, "every attention was whole")
        if saved and not now.computed_again:
            raise skipped_all(self, now.step)


class _Now:
    """The running call, the `calls`-th: its step, the letter of the plan, "" where each attention has its own, and
    whether its second half of rows is the first without a condition; and whether any step but the first computed
    attention."""

    def __init__(self, method: FastAttention) -> None:
        self.method = method
        self.step = self.calls = 0
        self.letter = "f"
        self.guided = False
        self.computed_again = False
        self.shape: tuple[int, ...] = ()
        self._began: dict[tuple[int, ...], int] = {}

    def tell(self, step: int) -> None:
        self.step = step

    def begin(self, x: Tensor, halves: int) -> None:
        self.calls += 1
        self.shape, self.guided = tuple(x.shape), halves == 2
        first = self._began.setdefault(self.shape, self.step)
        plan = self.method.plan
        if plan == GREEDY:
            since = self.step - first
            self.letter = "f" if since < self.method.trials or since % self.method.trials == 0 else ""
        else:
            self.letter = plan[self.step % len(plan)]
            if first == self.step:
                self.letter = "f"  # nothing is known yet
            elif self.letter == "c" and not self.guided:
                self.letter = "f"
        self.computed_again |= self.letter != "s" and self.step > 0

    @property
    def kind(self) -> str:
        return self.letter


@dataclass
class _Part:
    """One attention: for each shape of a call its last output, what the window left out of the weighted values, and how
    far off each saving was while attention was whole. Of the `tokens` of the running call, None where it is told a map,
    `before` stand before the image's."""

    method: FastAttention
    network: nn.Module
    branch: Branch
    forward: Callable[..., Tensor]
    saved: int = 0
    call: int = 0
    before: int = 0
    tokens: int | None = None
    last: dict[tuple[int, ...], Tensor] = field(default_factory=dict)
    beyond: dict[tuple[int, ...], Tensor] = field(default_factory=dict)
    errors: dict[tuple[int, ...], dict[str, float]] = field(default_factory=dict)
    first: Untouched = field(default_factory=Untouched)

    def bound(self, now: _Now) -> Callable[..., Tensor]:
        def call(*args: Any, **kwargs: Any) -> Tensor:
            if self.call == now.calls:
                raise refuse(self.method, self.network, CALLED_AGAIN)
            self.call = now.calls
            if not self.first.still():
                raise refuse(self.method, self.network, CHANGED)
            self._look(first_of(args, kwargs), *args[1:2])
            letter = now.letter or self._chosen(now.shape)
            self.saved += letter in ("s", "c")
            output = {"f": self._whole, "w": self._window, "s": self._again, "c": self._half}[letter](now, args, kwargs)
            if self.method.reuses:
                self.first.note(output)
                self.last[now.shape] = output
            return output

        return call

    def _look(self, x: Tensor, *others: Any) -> None:
        """At the tokens that the attention is told."""
        self.before, self.tokens = self.branch.before, x.shape[1] if x.ndim == 3 else None
        if self.branch.joint:
            self.before, self.tokens = x.shape[1], x.shape[1] + others[0].shape[1]

    def _whole(self, now: _Now, args: Any, kwargs: Any) -> Tensor:
        tries = self.method.plan == GREEDY

        def both(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def call(*args: Any, **kwargs: Any) -> Tensor:
                output, near = attend(*args, **kwargs), self._near(attend, args, kwargs)
                if tries and now.shape in self.beyond and narrows(self.method.window, self.before, *args, **kwargs):
                    self._note(now.shape, "w", near + self.beyond[now.shape], output)
                self.beyond[now.shape] = output - near
                return output

            return call

        with instead(both) if self.method.looks_inside else nullcontext():
            output = self.forward(*args, **kwargs)
        if self.method.looks_inside and now.shape not in self.beyond:
            why = "its attention calls no scaled_dot_product_attention, which a window could hold"
            raise refuse(self.method, self.network, why)
        if tries and not hasattr(output, "is_meta"):
            raise refuse(self.method, self.network, SEVERAL)
        if tries and now.shape in self.last:
            self._note(now.shape, "s", self.last[now.shape], output)
            if now.guided:
                self._note(now.shape, "c", output.chunk(2)[0].repeat(2, *[1] * (output.ndim - 1)), output)
        return output

    def _note(self, shape: tuple[int, ...], letter: str, guess: Tensor, output: Tensor) -> None:
        """The largest relative L2 error that this saving had so far."""
        errors = self.errors.setdefault(shape, {})
        errors[letter] = max(errors.get(letter, 0.0), float((guess - output).norm() / output.norm()))

    def _chosen(self, shape: tuple[int, ...]) -> str:
        errors = self.errors.get(shape, {})
        return next((letter for letter in SAVINGS if errors.get(letter, 1e9) < self.method.threshold), "f")

    def _window(self, now: _Now, args: Any, kwargs: Any) -> Tensor:
        beyond = self.beyond[now.shape]

        def near(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def call(*args: Any, **kwargs: Any) -> Tensor:
                self.saved += narrows(self.method.window, self.before, *args, **kwargs)
                return self._near(attend, args, kwargs) + beyond

            return call

        with instead(near):
            return self.forward(*args, **kwargs)

    def _near(self, attend: Callable[..., Tensor], args: Any, kwargs: Any) -> Tensor:
        """Within the window. UsageError for attention with a mask, which is of all tokens, and for that of tokens whose
        order is not known."""
        if self.tokens is not None and args[0].shape[2] != self.tokens:
            why = "its attention joins others to the tokens that it is told first, so that a window is not the image's"
            raise refuse(self.method, self.network, why)
        masks = (*args[3:4], *args[5:6], kwargs.get("attn_mask"), kwargs.get("is_causal"))
        if any(mask is not None and mask is not False for mask in masks):
            raise refuse(self.method, self.network, "its attention has a mask, which does not fit a window")
        return windowed(attend, self.method.window, self.before)(*args, **kwargs)

    def _again(self, now: _Now, args: Any, kwargs: Any) -> Tensor:
        return self.last[now.shape]

    def _half(self, now: _Now, args: Any, kwargs: Any) -> Tensor:
        if not args:
            why = "its attention is told its tokens by name; have it give them first, unnamed"
            raise refuse(self.method, self.network, why)
        x, half = args[0], len(args[0]) // 2

        def of_half(given: Any) -> Any:
            if isinstance(given, list):
                return list(map(of_half, given))
            return given[:half] if getattr(given, "shape", ())[:1] == x.shape[:1] and given.ndim == x.ndim else given

        output = self.forward(*map(of_half, args), **{name: of_half(value) for name, value in kwargs.items()})
        if not hasattr(output, "is_meta"):
            raise refuse(self.method, self.network, SEVERAL)
        return output.repeat(2, *[1] * (output.ndim - 1))


def instead(of: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> AbstractContextManager[Any]:
    """Inside, what `of` makes of scaled_dot_product_attention is called in its place."""
    from torch.overrides import TorchFunctionMode

    class Instead(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") == "scaled_dot_product_attention":
                func = of(func)
            return func(*args, **(kwargs or {}))

    return Instead()


def narrows(window: int, before: int, query: Tensor, key: Tensor, *_: Any, **__: Any) -> bool:
    """Whether such windows leave any token out."""
    return key.shape[2] - before > 2 * window


def windowed(attend: Callable[..., Tensor], window: int, before: int = 0) -> Callable[..., Tensor]:
    """Attention (N, heads, T, d) in stretches of `window` tokens, each of which sees itself and its two neighbours; the
    first `before` tokens see and are seen by all."""

    def call(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        import torch

        def near(x: Tensor, at: int) -> Tensor:
            seen = x[:, :, max(before, at - window) : at + 2 * window]
            return torch.cat([x[:, :, :before], seen], dim=2) if before else seen

        parts = [attend(query[:, :, :before], key, value, *args, **kwargs)] if before else []
        for at in range(before, query.shape[2], window):
            seen = (near(x, at) for x in (key, value))
            parts.append(attend(query[:, :, at : at + window], *seen, *args, **kwargs))
        return torch.cat(parts, dim=2)

    return call
