"""How many parameters a network has, and of which kind."""

from __future__ import annotations

from torch import Tensor, nn


def count(model: nn.Module) -> dict[str, int]:
    """Numbers of parameters: `params` take a gradient in training, `params_fixed` do not (position tables),
    `params_dead` belong to `params` but no output depends on them."""
    dead = (module for module in model.modules() if getattr(module, "dead_macs", 0))
    return {
        "params": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "params_fixed": sum(p.numel() for p in model.parameters() if not p.requires_grad),
        "params_dead": sum(p.numel() for module in dead for p in module.parameters()),
    }


def tables(model: nn.Module) -> int:
    """Numbers in the buffers that are saved with the parameters."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    saved = (value for name, value in model.state_dict().items() if name not in parameters)
    return sum(value.numel() for value in saved if isinstance(value, Tensor) and value.is_floating_point())


def by_module(model: nn.Module) -> list[tuple[str, int]]:
    """(path, parameters that take a gradient) of every module that has some itself."""
    own = [
        (path, sum(p.numel() for p in module.parameters(recurse=False) if p.requires_grad))
        for path, module in model.named_modules()
    ]
    return [(path, number) for path, number in own if number]
