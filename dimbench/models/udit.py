"""U-DiT (Tian et al., arXiv 2405.02730): a U-Net of DiT blocks whose attention runs within four interleaved,
downsampled copies of the feature map."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.kernels import onednn
from dimbench.layers.adaln import gated, modulate, modulation, plain_norm
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.convolution import WideConv
from dimbench.layers.embed import LabelEmbedder, TimestepEmbedder
from dimbench.layers.inputs import class_conditional
from dimbench.layers.named import named
from dimbench.layers.rope import columns_and_rows, rotate
from dimbench.layers.sizes import check_sizes

STRIDES = (1, 2, 4, 2, 1)  # of the five stages: two of the encoder, the latent one, two of the decoder
MAX_LOGIT_SCALE = 4.6052  # the official rounding of ln 100
ATTENTIONS = ("dot", "cosine")
POSITIONS = ("none", "rope2d")
FFNS = ("basic", "depthwise", "rep")


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent, `hidden_size` the width of the first stage, `depth` the blocks of the
    five stages, each with two layers of attention and feed-forward network.

    `down_factor`: per stage or for all, into how many copies per axis a feature map is split for attention;
    `downsampler`: the convolution before, "dwconvK" (depthwise), "convK" (K odd) or "none"; `down_shortcut` adds its
    input. `attn_type`: "cosine" (officially v2) or "dot"; `posemb_type`: "rope2d" or "none"; `ffn_type`: "basic",
    "depthwise" (officially rep 0) or "rep" (rep 1), whose branches `fuse` merges into "depthwise".
    """

    input_size: int = 32
    in_channels: int = 4
    hidden_size: int = 384
    depth: Sequence[int] = (2, 5, 8, 5, 2)
    num_heads: int = 16
    mlp_ratio: float = 2.0
    num_classes: int = 1000
    label_dropout: float = 0.1
    learn_sigma: bool = True
    down_factor: int | Sequence[int] = 2
    downsampler: str = "dwconv5"
    down_shortcut: bool = True
    attn_type: str = "cosine"
    posemb_type: str = "rope2d"
    ffn_type: str = "rep"

    def __post_init__(self) -> None:
        check_sizes(self)
        self._check_choices()
        if len(self.depth) != len(STRIDES):
            raise UsageError(
                f"depth {list(self.depth)} does not give each of the five stages blocks; give five numbers"
            )
        if len(self.down_factors) != len(STRIDES):
            raise UsageError(f"down_factor {self.down_factor} is not one number or five; give one per stage")
        step = math.lcm(*(stride * factor for stride, factor in zip(STRIDES, self.down_factors, strict=True)))
        if self.input_size < 1 or self.input_size % step:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be halved twice and split by down factors "
                f"{list(self.down_factors)}; give a resolution whose latent side is a positive multiple of {step}"
            )
        fit = self.num_heads * (4 if self.posemb_type == "rope2d" else 1)
        if self.hidden_size % math.lcm(2, fit):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads with positions "
                f"{self.posemb_type}; give a multiple of {math.lcm(2, fit)}"
            )

    def _check_choices(self) -> None:
        for name, known in (("attn_type", ATTENTIONS), ("posemb_type", POSITIONS), ("ffn_type", FFNS)):
            if (given := getattr(self, name)) not in known:
                raise UsageError(f"{name} {given!r} is unknown; known are {', '.join(known)}")
        if not re.fullmatch(r"none|(dw)?conv[13579]", self.downsampler):
            raise UsageError(f"downsampler {self.downsampler!r} is unknown; give none, dwconvK or convK with K odd")
        if self.down_shortcut and self.downsampler == "none":
            raise UsageError("down_shortcut goes round a downsampler and there is none; set down_shortcut to false")

    @property
    def down_factors(self) -> tuple[int, ...]:
        """One per stage."""
        given = self.down_factor
        return (given,) * len(STRIDES) if isinstance(given, int) else tuple(given)

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)


def same_conv(inputs: int, outputs: int, kernel: int, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)


def depthwise(width: int, kernel: int) -> nn.Conv2d:
    return same_conv(width, width, kernel, groups=width)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution as the matrix product it is, on maps whose channels are innermost in memory; on a CPU by
    oneDNN, as torch computes convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return onednn.convolved(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def downsampler(kind: str, width: int) -> nn.Sequential:
    kernel = int(kind[-1])
    return named(layer=depthwise(width, kernel) if kind.startswith("dw") else same_conv(width, width, kernel))


def rope_2d(tokens: int, head: int, device: torch.device) -> Tensor:
    """The rotations (tokens, head / 2) of a map's tokens.

    The row length is floor(sqrt(tokens)), as the authors have it also where the map is not square.
    """
    side = math.isqrt(tokens)
    token = torch.arange(tokens, device=device)
    return columns_and_rows(token.div(side, rounding_mode="floor"), token % side, head)


def split_map(x: Tensor, factor: int) -> Tensor:
    """(N, C, h, w) -> (N f^2, h w / f^2, C): pixels whose rows and columns agree modulo f form one sequence."""
    batch, width, rows, columns = x.shape
    pixels = x.permute(0, 2, 3, 1)
    cells = pixels.reshape(batch, rows // factor, factor, columns // factor, factor, width)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch * factor**2, -1, width)


def join_map(tokens: Tensor, factor: int, rows: int, columns: int) -> Tensor:
    """The inverse of `split_map`, for a map of that many rows and columns."""
    width = tokens.shape[-1]
    cells = tokens.reshape(-1, factor, factor, rows // factor, columns // factor, width)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(-1, rows, columns, width).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention within each of the factor^2 interleaved parts of a map (N, C, h, w)."""

    def __init__(self, config: Config, width: int, factor: int) -> None:
        super().__init__()
        self.heads, self.factor, self.shortcut = config.num_heads, factor, config.down_shortcut
        self.downsampler = None if config.downsampler == "none" else downsampler(config.downsampler, width)
        self.cosine = config.attn_type == "cosine"
        if self.cosine:
            self.logit_scale = nn.Parameter(torch.full((config.num_heads, 1, 1), math.log(10)))
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = Pointwise(width, width)

    def forward(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        rows, columns = x.shape[-2:]
        if self.downsampler is not None:
            x = self.downsampler(x) + x if self.shortcut else self.downsampler(x)
        query, key, value = split_heads(self.to_qkv(split_map(x, self.factor)), 3, self.heads)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if self.cosine:
            temperature = torch.exp(-self.logit_scale.clamp(max=MAX_LOGIT_SCALE))
            query, key = F.normalize(query, dim=-1) / temperature, F.normalize(key, dim=-1)
        mixed = attend(query, key, value, scale=1.0 if self.cosine else None)
        return self.to_out(join_map(mixed, self.factor, rows, columns))


class BasicFfn(nn.Module):
    """1x1 convolution, tanh GELU, 1x1 convolution."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Pointwise(width, hidden)
        self.fc2 = Pointwise(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class DepthwiseFfn(nn.Module):
    """1x1 convolution, exact GELU, depthwise 5x5, 1x1 convolution: also what `RepFfn` becomes when merged."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.project_in = Pointwise(width, hidden)
        self.dwconv = depthwise(hidden, 5)
        self.project_out = Pointwise(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.project_out(self.dwconv(F.gelu(self.project_in(x))))


class RepFfn(nn.Module):
    """`DepthwiseFfn` as it is trained: each 1x1 convolution as two, three depthwise branches beside the identity."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.project_in = nn.Sequential(Pointwise(width, hidden // 2), Pointwise(hidden // 2, hidden))
        self.dwconv = nn.ModuleList(depthwise(hidden, kernel) for kernel in (5, 3, 1))
        self.project_out = nn.Sequential(Pointwise(hidden, hidden // 2), Pointwise(hidden // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        g = F.gelu(self.project_in(x))
        return self.project_out(g + sum(conv(g) for conv in self.dwconv))

    @torch.no_grad()
    def merged(self) -> DepthwiseFfn:
        """The same function with one convolution for each group; merged in float64, so exact to the last rounding."""
        exact = {name: tensor.double() for name, tensor in self.state_dict().items()}
        kernels = (F.pad(exact[f"dwconv.{k}.weight"], (k, k, k, k)) for k in (0, 1, 2))
        identity = F.pad(torch.ones_like(exact["dwconv.2.weight"]), (2, 2, 2, 2))
        state = {
            "dwconv.weight": sum(kernels, identity),
            "dwconv.bias": sum(exact[f"dwconv.{k}.bias"] for k in (0, 1, 2)),
        }
        for name in ("project_in", "project_out"):
            inner, outer = (exact[f"{name}.{k}.weight"].flatten(1) for k in (0, 1))
            state[f"{name}.weight"] = (outer @ inner)[..., None, None]
            state[f"{name}.bias"] = F.linear(exact[f"{name}.0.bias"][None], outer, exact[f"{name}.1.bias"])[0]
        ffn = DepthwiseFfn(self.width, self.hidden).to(next(self.parameters()))
        ffn.load_state_dict(state)
        return ffn


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the channels at each pixel of x (N, C, h, w), then times 1 + scale plus shift, each (N, C)."""
    tokens = modulate(plain_norm(x.permute(0, 2, 3, 1).flatten(1, 2)), shift, scale)
    return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class Block(nn.Module):
    """Two layers of attention and feed-forward network, each normed, modulated and gated by the condition (N, C)."""

    def __init__(self, config: Config, width: int, factor: int) -> None:
        super().__init__()
        ffn = {"basic": BasicFfn, "depthwise": DepthwiseFfn, "rep": RepFfn}[config.ffn_type]
        hidden = int(width * config.mlp_ratio)
        self.attn1, self.attn2 = Attention(config, width, factor), Attention(config, width, factor)
        self.mlp1, self.mlp2 = ffn(width, hidden), ffn(width, hidden)
        self.adaLN_modulation1, self.adaLN_modulation2 = modulation(width, 6 * width), modulation(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor, rotation: Tensor | None) -> Tensor:
        layers = (self.adaLN_modulation1, self.attn1, self.mlp1), (self.adaLN_modulation2, self.attn2, self.mlp2)
        for adaln, attn, mlp in layers:
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = adaln(c).chunk(6, dim=-1)
            x = gated(x, gate_a[..., None, None], attn(modulated_norm(x, shift_a, scale_a), rotation))
            x = gated(x, gate_m[..., None, None], mlp(modulated_norm(x, shift_m, scale_m)))
        return x


class Stage(nn.ModuleList):
    """The blocks of one resolution, (N, C, h, w) -> (N, C, h, w)."""

    def __init__(self, config: Config, index: int, width: int) -> None:
        factor = config.down_factors[index]
        super().__init__(Block(config, width, factor) for _ in range(config.depth[index]))
        self.group = factor**2
        self.head = width // config.num_heads if config.posemb_type == "rope2d" else None

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        rotation = None if self.head is None else rope_2d(x[0, 0].numel() // self.group, self.head, x.device)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self:
            x = block(x, c, rotation)
        return x


class FinalLayer(nn.Module):
    """Norm, modulate, 3x3 convolution."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.adaLN_modulation = modulation(width, 2 * width)
        self.out_proj = same_conv(width, outputs, 3)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.out_proj(modulated_norm(x, *self.adaLN_modulation(c).chunk(2, dim=-1)))


def halving(width: int) -> nn.Sequential:
    """(N, C, h, w) -> (N, 2C, h/2, w/2)."""
    return named(body=nn.Sequential(same_conv(width, width // 2, 3, bias=False), nn.PixelUnshuffle(2)))


def doubling(width: int) -> nn.Sequential:
    """(N, C, h, w) -> (N, C/2, 2h, 2w)."""
    return named(body=nn.Sequential(WideConv(width, 2 * width, bias=False), nn.PixelShuffle(2)))


class UDiT(nn.Module):
    """forward(x (N, C, h, w), t (N,), y (N,)) -> (N, out_channels, h, w); h and w are what the stages divide."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = named(proj=same_conv(config.in_channels, width, 3))
        self.t_embedder_1 = TimestepEmbedder(width)
        self.t_embedder_2 = TimestepEmbedder(2 * width)
        self.t_embedder_3 = TimestepEmbedder(4 * width)
        self.y_embedder_1 = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.y_embedder_2 = LabelEmbedder(config.num_classes, 2 * width, config.label_dropout)
        self.y_embedder_3 = LabelEmbedder(config.num_classes, 4 * width, config.label_dropout)
        self.encoder_level_1 = Stage(config, 0, width)
        self.down1_2 = halving(width)
        self.encoder_level_2 = Stage(config, 1, 2 * width)
        self.down2_3 = halving(2 * width)
        self.latent = Stage(config, 2, 4 * width)
        self.up3_2 = doubling(4 * width)
        self.reduce_chan_level2 = Pointwise(4 * width, 2 * width)
        self.decoder_level_2 = Stage(config, 3, 2 * width)
        self.up2_1 = doubling(2 * width)
        self.reduce_chan_level1 = Pointwise(2 * width, 2 * width)
        self.decoder_level_1 = Stage(config, 4, 2 * width)
        self.output = same_conv(2 * width, 2 * width, 3)
        self.final_layer = FinalLayer(2 * width, config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier everywhere; zero output; every block starts as the identity."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or "adaLN_modulation" in name or "out_proj" in name:
                nn.init.zeros_(parameter)
            elif "t_embedder" in name or "y_embedder" in name:
                nn.init.normal_(parameter, std=0.02)
            elif not name.endswith("logit_scale"):
                nn.init.xavier_uniform_(parameter.flatten(1) if "x_embedder" in name else parameter)

    def inner(self, level: int) -> tuple[list[nn.Module], nn.Module]:
        """What lies within the `level` outermost stages of both sides, and behind it what enlarges its output."""
        lowest = [self.down2_3, self.latent]
        if level == 1:
            around = [self.down1_2, self.encoder_level_2, *lowest, self.up3_2]
            return [*around, self.reduce_chan_level2, self.decoder_level_2], self.up2_1
        return (lowest if level == 2 else []), self.up3_2

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        c1 = self.t_embedder_1(t) + self.y_embedder_1(y)
        c2 = self.t_embedder_2(t) + self.y_embedder_2(y)
        c3 = self.t_embedder_3(t) + self.y_embedder_3(y)
        first = self.encoder_level_1(self.x_embedder(x), c1)
        second = self.encoder_level_2(self.down1_2(first), c2)
        z = self.latent(self.down2_3(second), c3)
        z = self.up3_2(z.contiguous())  # so its convolution, wide on few pixels, takes half as long on a CPU
        z = self.reduce_chan_level2(torch.cat([z, second], dim=1))
        z = self.decoder_level_2(z, c2)
        z = self.reduce_chan_level1(torch.cat([self.up2_1(z), first], dim=1))
        z = self.decoder_level_1(z, c2)
        return self.final_layer(self.output(z), c2)


def build(config: Config) -> UDiT:
    return UDiT(config)


def fuse(model: UDiT) -> UDiT:
    """`model` for inference: the branches of ffn_type "rep" merged, exact to rounding. All other weights are shared
    with `model`, which stays as it is; load checkpoints before."""
    if model.config.ffn_type != "rep":
        return model
    fused = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
    fused.config = replace(model.config, ffn_type="depthwise")
    for path, module in model.named_modules():
        if isinstance(module, RepFfn):
            fused.set_submodule(path, module.merged())
    return fused.train(model.training)


given = class_conditional
