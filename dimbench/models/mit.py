"""MiT, the network of improved MeanFlow (Geng et al., arXiv 2512.02012) and of pixel MeanFlow (arXiv 2601.22158):
class, interval of time, guidance and where it acts are tokens before the patches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.embed import BottleneckPatchEmbed, PatchEmbed, dropped, sinusoid, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import BareSwiGlu
from dimbench.layers.named import named
from dimbench.layers.norm import fine_rms_norm
from dimbench.layers.rope import along, grid, rotate, rows_then_columns
from dimbench.layers.sizes import check_sizes

WAVES = 256
CLAMP = 0.05
BLOCK_STD, EMBEDDER_STD = 0.32, 1.0


@dataclass(frozen=True)
class Config:
    """The last `aux_head_depth` of `depth` blocks are the head of the average velocity u; training has a second one for
    the velocity v, `disable_v_head` leaves it out. `predicts_x`: the heads give the image, as pixel MeanFlow's. Patches
    are embedded through `bottleneck_dim` numbers, 0 for straight. `omega`, `t_min`, `t_max` are the guidance and the
    times it acts in where a call names none."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 768
    depth: int = 12
    num_heads: int = 12
    aux_head_depth: int = 8
    disable_v_head: bool = True
    bottleneck_dim: int = 0
    predicts_x: bool = False
    rope_2d: bool = False
    learned_pe: bool = False
    class_tokens: int = 8
    time_tokens: int = 4
    guidance_tokens: int = 4
    interval_tokens: int = 2
    num_classes: int = 1000
    label_dropout: float = 0.1
    omega: float = 1.0
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self, ("bottleneck_dim", "guidance_tokens", "interval_tokens"))
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"an image of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a positive "
                f"multiple of {self.patch_size}"
            )
        if self.hidden_size % (4 * self.num_heads):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads, each of a multiple of 4; give a "
                f"multiple of {4 * self.num_heads}"
            )
        if not 0 < self.aux_head_depth < self.depth:
            raise UsageError(
                f"{self.aux_head_depth} of {self.depth} blocks cannot be the head; give 1 to {self.depth - 1}"
            )
        if self.omega < 1 or not 0 <= self.t_min <= self.t_max <= 1:
            raise UsageError(
                f"guidance {self.omega:g} in times {self.t_min:g} to {self.t_max:g} is not understood; give at least "
                "1, and two times from 0 to 1 in their order"
            )
        if not self.label_dropout > 0:
            raise UsageError(f"label_dropout {self.label_dropout:g} leaves no label for 'no class'; give more than 0")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int:
        """The label that means "no class"."""
        return self.num_classes

    @property
    def side(self) -> int:
        """Patches per side."""
        return self.input_size // self.patch_size

    @property
    def guided(self) -> bool:
        """Whether guidance is told to the network."""
        return self.guidance_tokens > 0 and self.interval_tokens > 0

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return self.class_tokens + self.time_tokens + self.guided * (self.guidance_tokens + 2 * self.interval_tokens)


def bare(width: int, outputs: int) -> nn.Sequential:
    """A Linear without bias under the official name."""
    return named(linear=nn.Linear(width, outputs, bias=False))


class ScalarEmbedder(nn.Module):
    """(N,) numbers -> (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            named(linear=nn.Linear(WAVES, width)), nn.SiLU(), named(linear=nn.Linear(width, width))
        )

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoid(t, WAVES).to(self.mlp[0].linear.weight.dtype))


class ClassTable(nn.Module):
    """(N,) labels -> (N, width), in training some as "no class"."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.null, self.dropout = config.num_classes, config.label_dropout
        self.embedding_table = named(embedding=nn.Embedding(config.num_classes + 1, config.hidden_size))

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(dropped(y, self.null, self.dropout) if self.training else y)


class SplitAttention(nn.Module):
    """Self-attention with queries, keys and values of layers of their own, normed and turned; no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (bare(width, width) for _ in range(4))
        self.q_norm, self.k_norm = fine_rms_norm(width // heads), fine_rms_norm(width // heads)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        parts = (split_heads(project(x), 1, self.heads)[0] for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key, value = parts
        query, key = rotate(self.q_norm(query), rotation), rotate(self.k_norm(key), rotation)
        return self.out_proj(attend(query, key, value))


class ScaledResidualBlock(nn.Module):
    """A pre-norm transformer block whose two halves are added through learned scales, zero at the start."""

    def __init__(self, width: int, heads: int, tokens_before: int) -> None:
        super().__init__()
        self.tokens_before = tokens_before
        hidden = int(width * 8 / 3)
        hidden = hidden if width <= 1024 else 8 * -(-hidden // 8)
        self.norm1, self.norm2 = fine_rms_norm(width), fine_rms_norm(width)
        self.attn = SplitAttention(width, heads)
        self.mlp = BareSwiGlu(width, hidden, bare)
        self.attn_scale = nn.Parameter(torch.zeros(width))
        self.mlp_scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self.attn_scale * self.attn(self.norm1(x), rotation)
        return x + self.mlp_scale * self.mlp(self.norm2(x))


class NormedOutput(nn.Module):
    """Norm and Linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = fine_rms_norm(width)
        self.linear = named(linear=nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))


class MiT(nn.Module):
    """forward(x (N, C, h, h), h, omega, t_min, t_max, y (N,) each) -> what its heads give, (N, C or 2C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        tables = {"class": config.class_tokens, "time": config.time_tokens}
        if config.guided:
            tables["omega"] = config.guidance_tokens
            tables["t_min"] = tables["t_max"] = config.interval_tokens
            self.omega_embedder, self.cfg_t_start_embedder = ScalarEmbedder(width), ScalarEmbedder(width)
            self.cfg_t_end_embedder = ScalarEmbedder(width)
        for name, count in tables.items():
            setattr(self, f"{name}_tokens", nn.Parameter(initial.SMALL * torch.randn(count, width)))
        self.x_embedder = self._patches()
        self.h_embedder = ScalarEmbedder(width)
        self.y_embedder = ClassTable(config)
        if config.learned_pe:
            self.pos_embed = nn.Parameter(initial.SMALL * torch.randn(1, config.prefix + config.side**2, width))
        self.shared_blocks = self._blocks(config.depth - config.aux_head_depth)
        outputs = config.patch_size**2 * config.in_channels
        for head in self._heads():
            setattr(self, f"{head}_heads", self._blocks(config.aux_head_depth))
            setattr(self, f"{head}_final_layer", NormedOutput(width, outputs))
        self._initialise()

    def _heads(self) -> str:
        return "u" if self.config.disable_v_head else "uv"

    def _patches(self) -> nn.Module:
        config = self.config
        if not config.bottleneck_dim:
            return PatchEmbed(config.in_channels, config.hidden_size, config.patch_size)
        sizes = config.in_channels, config.hidden_size, config.patch_size, config.bottleneck_dim
        return BottleneckPatchEmbed(*sizes, bias=True)

    def _blocks(self, count: int) -> nn.ModuleList:
        sizes = self.config.hidden_size, self.config.num_heads, self.config.prefix
        return nn.ModuleList(ScaledResidualBlock(*sizes) for _ in range(count))

    def _initialise(self) -> None:
        for path, module in self.named_modules():
            if isinstance(module, nn.Linear):
                std = EMBEDDER_STD if "embedder" in path else BLOCK_STD
                nn.init.normal_(module.weight, std=std / math.sqrt(module.in_features))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in self._heads():
            initial.zero(getattr(self, f"{head}_final_layer").linear.linear)

    def forward(self, x: Tensor, h: Tensor, omega: Tensor, t_min: Tensor, t_max: Tensor, y: Tensor) -> Tensor:
        tokens = torch.cat([*self._told(h, omega, t_min, t_max, y), self.x_embedder(x)], dim=1)
        if self.config.learned_pe:
            tokens = tokens + self.pos_embed
        rotation = self._rotation(x.device)
        for block in self.shared_blocks:
            tokens = block(tokens, rotation)
        return torch.cat([self._head(head, tokens, rotation) for head in self._heads()], dim=1)

    def _told(self, h: Tensor, omega: Tensor, t_min: Tensor, t_max: Tensor, y: Tensor) -> list[Tensor]:
        """The groups of tokens before the patches."""
        told = [self.class_tokens + self.y_embedder(y)[:, None]]
        if self.config.guided:
            told.append(self.omega_tokens + self.omega_embedder(1 - 1 / omega)[:, None])
            told.append(self.t_min_tokens + self.cfg_t_start_embedder(t_min)[:, None])
            told.append(self.t_max_tokens + self.cfg_t_end_embedder(t_max)[:, None])
        return [*told, self.time_tokens + self.h_embedder(h)[:, None]]

    def _head(self, name: str, tokens: Tensor, rotation: Tensor) -> Tensor:
        for block in getattr(self, f"{name}_heads"):
            tokens = block(tokens, rotation)
        patches = getattr(self, f"{name}_final_layer")(tokens[:, self.config.prefix :])
        return unpatchify(patches, self.config.patch_size)

    def _rotation(self, device: torch.device) -> Tensor:
        """In two dimensions the patches alone are turned, in one all tokens by their place."""
        config = self.config
        head = config.hidden_size // config.num_heads
        if not config.rope_2d:
            return along(torch.arange(config.prefix + config.side**2, device=device), head)
        patches = rows_then_columns(*grid(config.side, config.side, device), head)
        return nn.functional.pad(patches, (0, 0, config.prefix, 0), value=1)


class MiTDenoiser(nn.Module):
    """forward(x (N, C, h, h), t, y (N,)) -> the average velocity u (N, C, h, h) from x, which lies at the first of two
    times t (N, 2), to the second; times run from data 0 to noise 1. Of one time (N,) it is that of no interval. Where
    the second head is there, its velocity v stands behind, (N, 2C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = MiT(config)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        omega: Tensor | None = None,
        t_min: Tensor | None = None,
        t_max: Tensor | None = None,
    ) -> Tensor:
        start, end = t.unbind(1) if t.ndim == 2 else (t, t)
        own = self.config
        named_or_own = ((omega, own.omega), (t_min, own.t_min), (t_max, own.t_max))
        told = (torch.full_like(start, default) if value is None else value for value, default in named_or_own)
        out = self.net(x, start - end, *told, y)
        if not own.predicts_x:
            return out
        repeated = x if own.disable_v_head else torch.cat([x, x], dim=1)
        return (repeated - out) / start.clamp(CLAMP, 1)[:, None, None, None]


def build(config: Config) -> MiTDenoiser:
    return MiTDenoiser(config)


def fit_checkpoint(state: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' weights under these names: without the marks of their first framework, with flat tables of tokens,
    and without the second head where the network has none."""
    fitted = {}
    for name, tensor in state.items():
        if config.disable_v_head and name.startswith(("net.v_heads.", "net.v_final_layer.")):
            continue
        plain = name.replace("._flax_linear.", ".linear.").replace("._flax_embedding.", ".embedding.")
        fitted[plain] = tensor[0] if plain.endswith("_tokens") and tensor.ndim == 3 else tensor
    return fitted


given = class_conditional
