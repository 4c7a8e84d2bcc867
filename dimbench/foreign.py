"""Code of the user's own: a class or factory in a file or package, imported, and made with settings."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dimbench import hub, names, own_code
from dimbench.arguments import typed
from dimbench.errors import DimbenchError, UsageError, is_short_of_memory

CLASS = "diffusers:"


def is_of_diffusers(head: str) -> bool:
    """Whether a name means a class, folder or hub id of diffusers."""
    return head.startswith((CLASS, hub.PREFIX)) or head.endswith(".json") or Path(head).is_dir()


class Source:
    """`file.py:name` or `package.module:name`, imported: `factory` makes the module, `inputs` are what the file says it
    is called with, if it does."""

    def __init__(self, text: str) -> None:
        place, _, name = text.rpartition(":")
        if not place:
            place, name = text, ""
        module = _import_file(Path(place)) if place.endswith(".py") else _import_package(place)
        self.text = f"{Path(place).resolve()}:{name}" if place.endswith(".py") else text
        self.name = f"{Path(place).name if place.endswith('.py') else place}:{name}"
        self.place, self.factory = place, _member(module, place, name)
        self.inputs: Callable[..., Any] | None = getattr(module, "inputs", None) if place.endswith(".py") else None

    @property
    def code(self) -> str | None:
        """What own_code.digest_of says of it."""
        return own_code.digest_of(self.place)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The factory's arguments, texts turned into what its signature asks for."""
        return typed(given, self.factory, self.name)

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        """The module in eval mode. DimbenchError quotes what its own code says where it fails."""
        with refused(f"{self.name} cannot be made with {dict(settings) or 'no arguments'}"):
            made = self.factory(**settings)
        if not isinstance(made, nn.Module):
            raise UsageError(
                f"{self.name} gave {type(made).__name__} and no module; give the name of a torch.nn.Module or factory"
            )
        return made.eval()


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turns whatever somebody else's code raises into a DimbenchError that quotes its last line."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Initializing zero-element tensors"
            )  # of a width of 0, which is asked for
            yield
    except DimbenchError:
        raise
    except (Exception, SystemExit) as error:
        if is_short_of_memory(error):
            raise
        raise DimbenchError(f"{what}: {quoted(error)}") from error


def quoted(error: BaseException) -> str:
    """ "ValueError: the last line that says something"; the first where torch lists backends or advice below it."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = said[0] if isinstance(error, NotImplementedError) or said[0].startswith("CUDA error") else said[-1]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def skeleton_of(module: nn.Module) -> nn.Module:
    """A copy with shapes alone, on the meta device."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(t): _shape_of(t) for t in tensors})


def _shape_of(tensor: Tensor) -> Tensor:
    shape = tensor.detach().to("meta")
    return nn.Parameter(shape, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shape


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give FILE.py:NAME with the file's own path")
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look there
    sys.path.insert(0, str(path.resolve().parent))  # its neighbours
    try:
        with refused(f"{path} cannot be imported"):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name) if before is None else sys.modules.update({name: before})
        raise
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _import_package(name: str) -> Any:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UsageError(f"there is no module {name!r}; give FILE.py:NAME, or PACKAGE.MODULE:NAME of what is installed")
    with refused(f"{name} cannot be imported"):
        return importlib.import_module(name)


def _member(module: Any, place: str, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None) if name else None
    if callable(found):
        return found
    own = [key for key, value in vars(module).items() if not key.startswith("_") and _is_network(value, module)]
    shown = f"give {place}:{' or :'.join(own[:4])}" if own else "it defines no torch.nn.Module"
    if not name:
        raise UsageError(f"{place} is a file and not yet a network; {shown}")
    raise UsageError(f"{place} has no {name!r}; {names.meant(name, own, shown)}")


def _is_network(value: Any, module: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
