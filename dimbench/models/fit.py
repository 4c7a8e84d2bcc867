"""FiT and FiTv2 (Lu et al., arXiv 2402.12376; Wang et al., arXiv 2410.13925): transformers for images of any size.

Positions are rotary, so that sizes never seen in training only need other frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, gated, modulate, modulation, plain_norm
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.embed import LabelEmbedder, TimestepEmbedder
from dimbench.layers.inputs import class_conditional
from dimbench.layers.named import named
from dimbench.layers.rope import BASE, grid, rotate, rotations
from dimbench.layers.sizes import check_sizes

FREQUENCIES = ("normal", "linear", "ntk-aware", "ntk-aware-pro1", "ntk-aware-pro2", "ntk-by-parts", "yarn")


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent, or its (height, width).

    `adaln_lora_dim` is the rank of a block's own part of the modulation, 0 for a whole one per block (FiTv1).
    `use_sit`: the network is told a time in [0, 1], shifted by `time_shifting` and held at 1. `custom_freqs` says how
    the positions of more than `ori_max_pe_len` rows or columns are squeezed: by how much follows from `max_pe_len_h`
    and `max_pe_len_w`, or where these are 0 from the image; for each axis alone with `decouple`, else by the longer.
    """

    input_size: int | tuple[int, int] = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 36
    num_heads: int = 16
    mlp_ratio: float = 4.0
    use_swiglu_large: bool = False
    adaln_lora_dim: int = 288
    qk_norm: bool = True
    use_sit: bool = True
    time_shifting: float = 1.0
    learn_sigma: bool = False
    num_classes: int = 1000
    label_dropout: float = 0.1
    custom_freqs: str = "normal"
    decouple: bool = False
    ori_max_pe_len: int = 16
    max_pe_len_h: int = 0
    max_pe_len_w: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, ("adaln_lora_dim", "max_pe_len_h", "max_pe_len_w"))
        if isinstance(self.input_size, list):
            object.__setattr__(self, "input_size", tuple(self.input_size))
        if any(side < 1 or side % self.patch_size for side in self.sides):
            raise UsageError(
                f"a latent of {self.sides[0]} x {self.sides[1]} cannot be cut into patches of {self.patch_size}; give "
                f"a resolution whose latent sides are positive multiples of {self.patch_size}"
            )
        if self.hidden_size % (4 * self.num_heads):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads, each of a multiple of 4; give a "
                f"multiple of {4 * self.num_heads}"
            )
        if self.time_shifting <= 0:
            raise UsageError(f"time_shifting {self.time_shifting:g} leads no time to 1; give a number above 0")
        if self.custom_freqs not in FREQUENCIES:
            raise UsageError(f"custom_freqs {self.custom_freqs!r} is unknown; known are {', '.join(FREQUENCIES)}")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the latent."""
        return (self.input_size, self.input_size) if isinstance(self.input_size, int) else self.input_size

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, w)."""
        return (self.in_channels, *self.sides)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def mlp_hidden(self) -> int:
        hidden = int(self.hidden_size * self.mlp_ratio)
        return hidden if self.use_swiglu_large else hidden * 2 // 3


def frequencies(method: str, width: int, length: int, original: int) -> Tensor:
    """Angles per place (width / 2,) along an axis of `length` places, for a network trained on `original` ones.

    linear: Chen et al. 2023, arXiv 2306.15595; yarn and ntk-by-parts: Peng et al. 2023, arXiv 2309.00071.
    """
    scale = max(length / original, 1.0)
    powers = torch.arange(0, width, 2, dtype=torch.float32) / width
    plain = 1.0 / BASE**powers
    squeezed = plain / scale
    rebased = 1.0 / (BASE * scale ** (width / max(width - 2, 1))) ** powers  # of a single frequency, 1, in any base
    if method == "normal":
        return plain
    if method == "linear":
        return squeezed
    if method == "yarn":
        return torch.lerp(plain, squeezed, ramp(32, 1, width, original))
    if method == "ntk-by-parts":
        slow = torch.lerp(rebased, squeezed, ramp(1.25, 0.75, width, original))
        return torch.lerp(plain, slow, ramp(16, 2, width, original))
    return rebased


def ramp(fast: float, slow: float, width: int, original: int) -> Tensor:
    """0 for the frequencies that turn more than `fast` times over the `original` places, 1 for those that turn less
    than `slow` times, and linear between: (width / 2,)."""

    def place(turns: float) -> float:
        return width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(BASE))

    low, high = max(math.floor(place(fast)), 0), min(math.ceil(place(slow)), width - 1)
    span = high - low or 0.001
    return ((torch.arange(width // 2, dtype=torch.float32) - low) / span).clamp(0, 1)


def amplitude(method: str, rows: int, columns: int, original: int) -> float:
    """What queries and keys are multiplied by, against an attention that spreads over more tokens than in training."""
    longest = max(rows, columns)
    if method == "yarn":
        return 0.1 * math.log(max(longest / original, 1)) + 1
    if method == "ntk-aware-pro1" and 2 * longest > original:
        return math.sqrt(math.log(2 * longest) / math.log(original))
    if method == "ntk-aware-pro2" and 2 * rows * columns > original**2:
        return math.sqrt(math.log(2 * rows * columns) / math.log(original**2))
    return 1.0


class SplitSwiGlu(nn.Module):
    """SwiGLU of three Linear layers with biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1_g(x)) * self.fc1_x(x))


class Attention(nn.Module):
    """Self-attention of turned queries and keys, with `normed` after a norm, to where the mask is true."""

    def __init__(self, width: int, heads: int, normed: bool) -> None:
        super().__init__()
        self.heads, self.normed = heads, normed
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = split_heads(self.qkv(x), 3, self.heads)
        if self.normed:
            query, key = plain_norm(query), plain_norm(key)
        return self.proj(attend(rotate(query, rotation), rotate(key, rotation), value, mask=mask))


class Block(nn.Module):
    """The DiT block; with a rank its modulation is a common one and a product of two small layers of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, rank = config.hidden_size, config.adaln_lora_dim
        self.attn = Attention(width, config.num_heads, config.qk_norm)
        self.mlp = SplitSwiGlu(width, config.mlp_hidden)
        self.adaLN_modulation = modulation(width, rank or 6 * width)
        if rank:
            self.adaLN_modulation.append(nn.Linear(rank, 6 * width))

    def forward(self, x: Tensor, c: Tensor, common: Tensor | float, rotation: Tensor, mask: Tensor | None) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (self.adaLN_modulation(c) + common).chunk(6, dim=-1)
        x = gated(x, gate_a, self.attn(modulate(plain_norm(x), shift_a, scale_a), rotation, mask))
        return gated(x, gate_m, self.mlp(modulate(plain_norm(x), shift_m, scale_m)))


class FiT(nn.Module):
    """forward(x (N, C, h, w), t (N,), y (N,)) -> (N, out_channels, h, w), for any h and w that the patch divides."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, area = config.hidden_size, config.patch_size**2
        self.x_embedder = named(proj=nn.Linear(area * config.in_channels, width))
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        if config.adaln_lora_dim:
            self.global_adaLN_modulation = modulation(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, area * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """DiT's: Xavier, every block the identity, zero output."""
        initial.xavier(self)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[-1] for layer in (*self.blocks, self.final_layer)))
        if self.config.adaln_lora_dim:
            initial.zero(self.global_adaLN_modulation[1])

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        patch = self.config.patch_size
        if x.shape[-2] % patch or x.shape[-1] % patch:
            raise UsageError(
                f"a latent of {x.shape[-2]} x {x.shape[-1]} cannot be cut into patches of {patch}; give sides that are "
                f"multiples of {patch}"
            )
        cells = F.pixel_unshuffle(x, patch)  # (N, C p p, rows, columns), the channel slowest
        rows, columns = cells.shape[-2:]
        places = grid(rows, columns, x.device)
        tokens = self.of_tokens(cells.flatten(2).transpose(1, 2), t, y, *places, (rows, columns))
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), patch)

    def of_tokens(
        self,
        tokens: Tensor,
        t: Tensor,
        y: Tensor,
        rows: Tensor,
        columns: Tensor,
        size: tuple[int, int],
        mask: Tensor | None = None,
    ) -> Tensor:
        """Tokens (N, T, C p p) -> (N, T, out_channels p p), the channel slowest, at rows and columns (T,) or (N, T).

        size: rows and columns of the image. mask (N, T): 0 for padding, which attends to itself alone and whose outputs
        are zero; with other numbers than 1, tokens of several images in one row of the batch.
        """
        c = self.t_embedder(self._time(t)) + self.y_embedder(y)
        common = self.global_adaLN_modulation(c) if self.config.adaln_lora_dim else 0.0
        rotation = self._rotations(rows, columns, size)
        same_image = None if mask is None else (mask[:, :, None] == mask[:, None])[:, None]
        hidden = self.x_embedder(tokens)
        for block in self.blocks:
            hidden = block(hidden, c, common, rotation, same_image)
        out = self.final_layer(hidden, c)
        return out if mask is None else out * (mask != 0)[..., None]

    def _time(self, t: Tensor) -> Tensor:
        """A network that predicts noise is told 0 to 999, where the authors' forward, made for [0, 1], would hold 1."""
        if not self.config.use_sit:
            return t
        shift = self.config.time_shifting
        return (shift * t / (1 + (shift - 1) * t)).clamp(max=1)

    def _rotations(self, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
        config = self.config
        height, width = config.max_pe_len_h or size[0], config.max_pe_len_w or size[1]
        lengths = (height, width) if config.decouple else (max(height, width),) * 2
        half = config.hidden_size // config.num_heads // 2
        by_row, by_column = (
            frequencies(config.custom_freqs, half, length, config.ori_max_pe_len).to(rows.device) for length in lengths
        )
        turns = rotations(torch.cat([rows[..., None] * by_row, columns[..., None] * by_column], dim=-1))
        if rows.ndim > 1:
            turns = turns[:, None]  # the same for all heads
        return turns * amplitude(config.custom_freqs, height, width, config.ori_max_pe_len)


def build(config: Config) -> FiT:
    return FiT(config)


given = class_conditional
