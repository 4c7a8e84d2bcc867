"""Attention, feed-forward networks, norms and modulation that several families share."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock, modulate
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import BottleneckPatchEmbed, unpatchify
from dimbench.layers.mlp import BareSwiGlu, Mlp, SwiGlu
from dimbench.layers.norm import RmsNorm, fine_rms_norm
from dimbench.layers.rope import along, rotate
from tests import golden_data

WIDTH, HEADS, TOKENS = 16, 2, 5


def tokens() -> torch.Tensor:
    return golden_data.latents(2, TOKENS, WIDTH)


def test_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    x = 1e-3 * tokens()
    for norm, eps in ((RmsNorm(WIDTH), 1e-5), (fine_rms_norm(WIDTH), 1e-6)):
        golden_data.fill(norm)
        torch.testing.assert_close(norm(x), x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * norm.weight)


def test_swiglu_is_the_same_in_two_layers_and_in_three() -> None:
    joined, bare = golden_data.fill(SwiGlu(WIDTH, 24)), BareSwiGlu(WIDTH, 24)
    with torch.no_grad():
        joined.w12.bias.zero_()
        joined.w3.bias.zero_()
        bare.w1.weight.copy_(joined.w12.weight[:24])
        bare.w3.weight.copy_(joined.w12.weight[24:])
        bare.w2.weight.copy_(joined.w3.weight)
        torch.testing.assert_close(joined(tokens()), bare(tokens()))
        gate, value = tokens() @ bare.w1.weight.T, tokens() @ bare.w3.weight.T
        torch.testing.assert_close(bare(tokens()), (gate * gate.sigmoid() * value) @ bare.w2.weight.T)


def test_gelu_is_exact_only_where_it_is_asked_to_be() -> None:
    exact, near = golden_data.fill(Mlp(WIDTH, 24, exact=True)), golden_data.fill(Mlp(WIDTH, 24))
    with torch.no_grad():
        torch.testing.assert_close(exact(tokens()), exact.fc2(F.gelu(exact.fc1(tokens()))))
        assert 1e-6 < (exact(tokens()) - near(tokens())).abs().max() < 1e-2


def test_queries_and_keys_are_normed_before_they_are_turned() -> None:
    attention = golden_data.fill(SelfAttention(WIDTH, HEADS, bias=False, norm=fine_rms_norm))
    assert attention.qkv.bias is None
    rotation = along(torch.arange(TOKENS), WIDTH // HEADS)
    with torch.no_grad():
        query, key, value = attention.qkv(tokens()).view(2, TOKENS, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key = rotate(attention.q_norm(query), rotation), rotate(attention.k_norm(key), rotation)
        weights = (query @ key.mT / (WIDTH // HEADS) ** 0.5).softmax(-1)
        expected = attention.proj((weights @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(attention(tokens(), rotation), expected)
        assert (attention(tokens()) - expected).abs().max() > 1e-3


def test_a_condition_per_token_is_one_per_image_where_all_are_equal() -> None:
    block = golden_data.fill(AdaLNZeroBlock(WIDTH, SelfAttention(WIDTH, HEADS), Mlp(WIDTH, 24), fine_rms_norm))
    last = golden_data.fill(AdaLNFinalLayer(WIDTH, 3))
    c = golden_data.unit("c", 2, WIDTH)
    with torch.no_grad():
        for layer in (block, last):
            whole = layer(tokens(), c)
            torch.testing.assert_close(layer(tokens(), c[:, None].expand(-1, TOKENS, -1)), whole)
            torch.testing.assert_close(layer(tokens(), c[:, None]), whole)
            other = c[:, None].repeat(1, TOKENS, 1)
            other[:, 0] += 1
            assert (layer(tokens(), other) - whole)[:, 0].abs().max() > 1e-2


def test_each_token_is_modulated_by_its_own_shift_and_scale() -> None:
    shift, scale = golden_data.unit("shift", 2, TOKENS, WIDTH), golden_data.unit("scale", 2, TOKENS, WIDTH)
    ours = modulate(tokens(), shift, scale)
    torch.testing.assert_close(ours[1, 3], tokens()[1, 3] * (1 + scale[1, 3]) + shift[1, 3])


def test_a_bottleneck_is_a_patch_embedding_of_low_rank() -> None:
    embed = golden_data.fill(BottleneckPatchEmbed(3, WIDTH, 2, 4, bias=True))
    first, second = embed.proj1.weight.flatten(1), embed.proj2.weight.flatten(1)
    x = golden_data.latents(2, 3, 4, 6)
    patches = F.unfold(x, 2, stride=2).mT
    with torch.no_grad():
        expected = patches @ (second @ first).T + second @ embed.proj1.bias + embed.proj2.bias
        torch.testing.assert_close(embed(x), expected)


def test_patches_of_a_map_that_is_not_square_are_put_back() -> None:
    x = golden_data.latents(2, 3, 4, 6)
    patches = F.unfold(x, 2, stride=2).mT.unflatten(-1, (3, 2, 2)).permute(0, 1, 3, 4, 2).flatten(2)
    assert torch.equal(unpatchify(patches, 2, rows=2), x)
