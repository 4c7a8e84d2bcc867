"""Between latents and the tokens and positions that some networks of diffusers are handed instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PATCH = 2  # latents per side of a token


def pack(x: Tensor) -> Tensor:
    """(B, C, h, w) -> tokens (B, h w / 4, 4 C)."""
    return x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, x: Tensor) -> Tensor:
    """What `pack` made, in the shape of x."""
    *_, height, width = x.shape
    grid = tokens.unflatten(2, (-1, PATCH, PATCH)).unflatten(1, (height // PATCH, width // PATCH))
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def grid_ids(height: int, width: int, axes: int, device: torch.device) -> Tensor:
    """(height width, axes) positions whose second and third axis are row and column, the others 0."""
    import torch

    rows = torch.arange(height, device=device)[:, None].expand(height, width)
    columns = torch.arange(width, device=device)[None, :].expand(height, width)
    nothing = torch.zeros_like(rows)
    return torch.stack([nothing, rows, columns, *[nothing] * (axes - 3)], dim=-1).flatten(0, 1)


def text_ids(tokens: int, axes: int, counted: bool, device: torch.device) -> Tensor:
    """(tokens, axes) positions of a text: its number on the last axis where `counted`, the others 0."""
    import torch

    numbers = torch.arange(tokens, device=device)
    nothing = torch.zeros_like(numbers)
    return torch.stack([*[nothing] * (axes - 1), numbers if counted else nothing], dim=-1)


def rotary_2d(head_dim: int, grid: tuple[int, int], base: int, device: torch.device) -> Any:
    """Cosines and sines (height width, head_dim) of a grid laid over a square one of side `base`."""
    from diffusers.models.embeddings import get_2d_rotary_pos_embed

    return get_2d_rotary_pos_embed(head_dim, fitted(grid, (base, base)), grid, device=device)


def rotary_3d(head_dim: int, frames: int, grid: tuple[int, int], base: tuple[int, int], device: torch.device) -> Any:
    """Cosines and sines (frames height width, head_dim), each frame's grid laid over one of sides `base`."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    return get_3d_rotary_pos_embed(head_dim, fitted(grid, base), grid, frames, device=device)


def rotary_slice(head_dim: int, frames: int, grid: tuple[int, int], base: tuple[int, int], device: torch.device) -> Any:
    """As `rotary_3d`, with the first positions of the larger grid `base`."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    return get_3d_rotary_pos_embed(head_dim, None, grid, frames, grid_type="slice", max_size=base, device=device)


def fitted(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The corners of the largest rectangle of the grid's shape in the middle of `base`."""
    (height, width), (rows, columns) = grid, base
    if height / width > rows / columns:
        inner = (rows, round(rows / height * width))
    else:
        inner = (round(columns / width * height), columns)
    top, left = round((rows - inner[0]) / 2), round((columns - inner[1]) / 2)
    return (top, left), (top + inner[0], left + inner[1])
