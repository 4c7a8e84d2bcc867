"""How a network that nobody here wrote is called: which argument is the sample, which the time, which the class."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from dimbench import names
from dimbench.errors import UsageError

# What the arguments of a diffusion network are called.
X = ("x", "sample", "hidden_states", "latents")
T = ("t", "timestep", "timesteps", "sigma")
Y = ("y", "class_labels", "labels")
_LIKE_Y = re.compile("label|class|cls|cond")

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _DTYPES}


@dataclass(frozen=True)
class Input:
    """One sample's share of an argument: its shape without the batch, and its dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    kept: Tensor | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, batch: Tensor) -> Input:
        """That of a batch of samples, whose values are kept."""
        return cls(tuple(batch.shape[1:]), batch.dtype, batch)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "scalar"
        return size if self.dtype == torch.float32 else f"{size}:{str(self.dtype).removeprefix('torch.')}"

    def of_rows(self, numbers: Tensor) -> Tensor:
        """A number for each row, in this shape and dtype; what has the shape already is not changed in it."""
        if numbers.ndim == 1:
            numbers = numbers.reshape(-1, *(1 for _ in self.shape)).expand(-1, *self.shape)
        return numbers.to(self.dtype)

    def values(self, rows: Sequence[int], device: str) -> Tensor:
        """Those that are kept, in turn; else standard normal ones of each row's own, zeros where they are no floats."""
        shape = (len(rows), *self.shape)
        if self.kept is not None and device != "meta":
            return self.kept[[row % len(self.kept) for row in rows]].to(device)
        if device == "meta" or not self.dtype.is_floating_point:
            return torch.zeros(shape, dtype=self.dtype, device=device)
        drawn = [torch.randn(self.shape, generator=torch.Generator().manual_seed(row)) for row in rows]
        return torch.stack(drawn).to(device, self.dtype)


def parse_inputs(texts: str | Sequence[str]) -> dict[str, Input]:
    """ "x=3x224x224", "ids=128:int64", "t=scalar" -> inputs by name. UsageError for one that is not understood."""
    found = {}
    for text in [texts] if isinstance(texts, (str, Mapping)) else texts:
        if not isinstance(text, str):
            raise UsageError(
                f"inputs of a network that is named are texts such as 'x=4x32x32', not {type(text).__name__}; tensors "
                "go with a module, such as MyNet()"
            )
        name, _, rest = text.partition("=")
        size, _, dtype = rest.partition(":")
        sides = [] if size == "scalar" else size.split("x")
        if not name.isidentifier() or not all(side.isdecimal() and 0 < int(side) < 2**31 for side in sides):
            raise UsageError(
                f"--input {text!r} is not understood; give an argument of forward and one sample's shape, such as "
                "x=4x32x32, ids=128:int64 or t=scalar"
            )
        if dtype and dtype not in DTYPES:
            raise UsageError(f"--input {text}: {dtype!r} is no dtype; known are {', '.join(DTYPES)}")
        found[name] = Input(tuple(map(int, sides)), DTYPES[dtype or "float32"])
    return found


@dataclass(frozen=True)
class Arguments:
    """The names of forward's arguments by what they are, "" where it has no such one; `others` are given too."""

    x: str
    t: str
    y: str
    others: tuple[str, ...]


def arguments(model: nn.Module, name: str, given: Mapping[str, Input]) -> Arguments:
    """What the arguments of `model.forward` are: by their names, else by their places (x, t, y).

    `given` are those whose shapes are known. UsageError for one that is not there, and for one that has no default and
    cannot be inferred.
    """
    known = {p.name: p for p in inspect.signature(model.forward).parameters.values()}
    open_end = any(p.kind is p.VAR_KEYWORD for p in known.values())
    named = [p for p in known.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if unknown := [each for each in given if each not in known and not open_end]:
        hint = names.meant(unknown[0], known, f"it takes {', '.join(known)}")
        raise UsageError(f"{name}.forward has no argument {unknown[0]!r}; {hint}")
    needed = [p.name for p in named if p.default is p.empty]
    x, t, y = (next((p.name for p in named if p.name in role), "") for role in (X, T, Y))
    x = x or next((each for each in needed[:1] if each not in (t, y)), "")
    t = t or next((each for each in needed[1:2] if each not in (x, y, *given)), "")
    y = y or next((each for each in needed[2:3] if each not in (x, t, *given) and _LIKE_Y.search(each)), "")
    if x in given and not given[x].dtype.is_floating_point:
        x = ""
    y = "" if y in given else y
    if missing := [each for each in needed if each not in (x, t, y, *given)]:
        raise UsageError(
            f"{name}.forward needs {missing[0]!r}, which cannot be inferred; give one sample's shape, such as "
            f"--input {missing[0]}=77x768"
        )
    return Arguments(x, t, y, tuple(each for each in given if each not in (x, t)))


def by_name(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """A batch of inputs by the names of forward's arguments: a mapping, tensors by their places, or one tensor.

    UsageError for what is no tensor.
    """
    if not isinstance(inputs, Mapping):
        places = inspect.signature(model.forward).parameters
        inputs = dict(zip(places, inputs if isinstance(inputs, (tuple, list)) else (inputs,), strict=False))
    for name, value in inputs.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise UsageError(
                f"the input {name!r} is a {type(value).__name__}; give tensors whose first axis is the batch"
            )
    return dict(inputs)


def tensor_of(output: Any) -> Tensor:
    """The tensor that a network's output means: itself, its `.sample`, or the first of several."""
    while not isinstance(output, Tensor):
        if isinstance(output, Mapping):
            output = output.get("sample", next(iter(output.values()), None))
        elif isinstance(output, (tuple, list)):
            output = output[0] if output else None
        else:
            output = getattr(output, "sample", None)
        if output is None:
            raise UsageError("the network's output holds no tensor; give a module whose forward returns one")
    return output


def typed(given: Mapping[str, Any], factory: Callable[..., Any], name: str) -> dict[str, Any]:
    """Arguments of `factory`, texts turned into what its signature asks for. UsageError for one it does not take, or of
    another type; `name` is what people call it."""
    known = inspect.signature(factory).parameters
    hints = _hints(factory)
    open_end = any(p.kind is p.VAR_KEYWORD for p in known.values())
    found = {}
    for key, value in given.items():
        if key not in known and not open_end:
            raise UsageError(f"{name} has no setting {key!r}; {names.meant(key, known, _takes(known))}")
        default = known[key].default if key in known else None
        wanted = hints.get(key) or type(default)
        found[key] = _value(value, wanted, f"{name}: {key}={value}") if isinstance(value, str) else value
    return found


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    except Exception:  # a hint that names what is not there
        return {}


def _takes(parameters: Mapping[str, Any]) -> str:
    return f"it takes {', '.join(parameters)}" if parameters else "it takes no arguments"


def _value(text: str, wanted: Any, where: str) -> Any:
    """The text as a value of the type that is wanted; what has no plain type is read as Python writes it."""
    if wanted is str:
        return text
    if wanted is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    try:
        if wanted in (int, float):
            return wanted(text)
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        if wanted in (int, float, bool, tuple, list):
            raise UsageError(f"{where}: that is no {wanted.__name__}; give one") from None
        return text
