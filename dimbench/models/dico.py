"""DiCo (Ai et al., arXiv 2505.11196): convolutions in the place of attention, on three levels of a U-shape.

No patches and no position table: any height and width that 4 divides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.adaln import gated, modulate, modulation, plain_norm
from dimbench.layers.embed import TimestepEmbedder
from dimbench.layers.inputs import class_conditional
from dimbench.layers.named import named
from dimbench.layers.sizes import check_sizes

SHRINKS = 4  # the side of the deepest level is a quarter


@dataclass(frozen=True)
class Config:
    """`hidden_size` is the width of the first level, which the second doubles and the third doubles again; `depth` are
    the blocks of encoder 1, encoder 2, the middle, decoder 2 and decoder 1."""

    input_size: int = 32
    in_channels: int = 4
    hidden_size: int = 416
    depth: tuple[int, ...] = (9, 9, 10, 9, 9)
    mlp_ratio: float = 2.0
    num_classes: int = 1000
    label_dropout: float = 0.1
    learn_sigma: bool = True

    def __post_init__(self) -> None:
        check_sizes(self)
        object.__setattr__(self, "depth", tuple(self.depth))
        if self.input_size < 1 or self.input_size % SHRINKS:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be halved twice; give a resolution whose latent side is a "
                f"positive multiple of {SHRINKS}"
            )
        if self.hidden_size < 2 or self.hidden_size % 2:
            raise UsageError(f"hidden_size {self.hidden_size} cannot be halved; give a positive even number")
        if len(self.depth) != 5:
            raise UsageError(f"depth {list(self.depth)} does not fit the U-shape; give five numbers")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the tables have no such row."""
        return self.num_classes if self.label_dropout > 0 else None

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)


def channel_norm(x: Tensor) -> Tensor:
    """Layer norm of (N, C, h, w) over the channels of each position, without gain or bias."""
    return plain_norm(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """Depthwise convolution and channel attention, then a feed-forward network; each modulated and gated."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.ca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.Sigmoid())
        self.conv4 = nn.Conv2d(width, hidden, 1)
        self.conv5 = nn.Conv2d(hidden, width, 1)
        self.adaLN_modulation = modulation(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c)[..., None, None].chunk(6, dim=1)
        a = F.gelu(self.conv2(self.conv1(modulate(channel_norm(x), shift_a, scale_a))))
        x = gated(x, gate_a, self.conv3(a * self.ca(a)))
        return gated(x, gate_m, self.conv5(F.gelu(self.conv4(modulate(channel_norm(x), shift_m, scale_m)))))


class Resample(nn.Module):
    """A convolution and a pixel shuffle: half the side and twice the width, or the reverse."""

    def __init__(self, width: int, outputs: int, shuffle: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, outputs, 3, padding=1, bias=False), shuffle)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class LabelTables(nn.Module):
    """(N,) labels -> one vector (N, width) per level; a label that training drops is dropped on all of them."""

    def __init__(self, num_classes: int, widths: Iterable[int], dropout: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = max(0.0, dropout)
        self.tables = 0
        for width in widths:
            setattr(self, f"embedding_table_{self.tables}", nn.Embedding(num_classes + (self.dropout > 0), width))
            self.tables += 1

    def forward(self, y: Tensor) -> list[Tensor]:
        if self.training and self.dropout > 0:
            dropped = torch.rand(y.shape, device=y.device) < self.dropout
            y = torch.where(dropped, self.num_classes, y)
        return [getattr(self, f"embedding_table_{level}")(y) for level in range(self.tables)]


class FinalLayer(nn.Module):
    """Norm, modulate, convolution."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.out_proj = nn.Conv2d(width, outputs, 3, padding=1)
        self.adaLN_modulation = modulation(width, 2 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[..., None, None].chunk(2, dim=1)
        return self.out_proj(modulate(channel_norm(x), shift, scale))


class DiCo(nn.Module):
    """forward(x (N, C, h, w), t (N,), y (N,)) -> (N, out_channels, h, w).

    The first decoder level and the final layer are as wide as the second encoder level and take its condition.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        one, two, four = widths = [config.hidden_size * 2**level for level in range(3)]

        def blocks(place: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, int(width * config.mlp_ratio)) for _ in range(config.depth[place]))

        self.x_embedder = named(proj=nn.Conv2d(config.in_channels, one, 3, padding=1))
        self.t_embedder_1, self.t_embedder_2, self.t_embedder_3 = (TimestepEmbedder(width) for width in widths)
        self.y_embedder = LabelTables(config.num_classes, widths, config.label_dropout)
        self.encoder_level_1 = blocks(0, one)
        self.down1_2 = Resample(one, one // 2, nn.PixelUnshuffle(2))
        self.encoder_level_2 = blocks(1, two)
        self.down2_3 = Resample(two, one, nn.PixelUnshuffle(2))
        self.latent = blocks(2, four)
        self.up3_2 = Resample(four, 2 * four, nn.PixelShuffle(2))
        self.reduce_chan_level2 = nn.Conv2d(four, two, 1)
        self.decoder_level_2 = blocks(3, two)
        self.up2_1 = Resample(two, four, nn.PixelShuffle(2))
        self.reduce_chan_level1 = nn.Conv2d(two, two, 1)
        self.decoder_level_1 = blocks(4, two)
        self.final_layer = FinalLayer(two, config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier everywhere; every block starts as the identity and the output as zero."""
        for path, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if path.startswith("t_embedder"):
                    nn.init.normal_(module.weight, std=0.02)
                if path.endswith(("adaLN_modulation.1", "out_proj")):
                    nn.init.zeros_(module.weight)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        times = (self.t_embedder_1(t), self.t_embedder_2(t), self.t_embedder_3(t))
        c1, c2, c3 = (time + label for time, label in zip(times, self.y_embedder(y), strict=True))
        first = run(self.encoder_level_1, self.x_embedder(x), c1)
        second = run(self.encoder_level_2, self.down1_2(first), c2)
        deep = run(self.latent, self.down2_3(second), c3)
        x = self.reduce_chan_level2(torch.cat([self.up3_2(deep), second], dim=1))
        x = run(self.decoder_level_2, x, c2)
        x = self.reduce_chan_level1(torch.cat([self.up2_1(x), first], dim=1))
        return self.final_layer(run(self.decoder_level_1, x, c2), c2)


def run(blocks: nn.ModuleList, x: Tensor, c: Tensor) -> Tensor:
    """x through the blocks, one after another."""
    for block in blocks:
        x = block(x, c)
    return x


def build(config: Config) -> DiCo:
    return DiCo(config)


given = class_conditional
