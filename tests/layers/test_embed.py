from __future__ import annotations

import math

import pytest
import torch

from dimbench.layers.embed import BottleneckPatchEmbed, LabelEmbedder, PatchEmbed, sincos_2d, sinusoid, unpatchify


def test_position_table_has_the_column_first() -> None:
    table = sincos_2d(8, 3)[0]
    row, column = 2, 1
    frequencies = (1.0, 10000.0**-0.5)
    expected = [f(p * w) for p in (column, row) for f in (math.sin, math.cos) for w in frequencies]
    assert table[row * 3 + column].tolist() == pytest.approx(expected, abs=1e-7)  # float32


def test_timestep_features_have_the_cosine_first() -> None:
    features = sinusoid(torch.tensor([2.0]), 4)[0]
    expected = [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]
    assert features.tolist() == pytest.approx(expected, abs=1e-6)  # float32 of angles up to 2


def test_unpatchify_puts_channels_fastest() -> None:
    patch, side, channels = 2, 3, 5
    tokens = torch.arange(side * side * patch * patch * channels).reshape(1, side * side, -1)
    image = unpatchify(tokens, patch)
    i, j, a, b, c = 2, 1, 1, 0, 3
    assert image[0, c, i * patch + a, j * patch + b] == tokens[0, i * side + j, (a * patch + b) * channels + c]


def test_labels_are_dropped_in_training_alone() -> None:
    embedder = LabelEmbedder(10, 4, dropout=0.3)
    null = embedder.embedding_table.weight[10]
    labels = torch.zeros(4000, dtype=torch.long)
    dropped = (embedder.train()(labels) == null).all(1).double().mean().item()
    assert dropped == pytest.approx(0.3, abs=0.03)  # 4 standard deviations of 4000 draws
    assert not (embedder.eval()(labels) == null).all(1).any()


def test_no_dropout_means_no_null_row() -> None:
    assert LabelEmbedder(10, 4, dropout=-1).embedding_table.num_embeddings == 10


@pytest.mark.parametrize("kind", [PatchEmbed(3, 8, 2), BottleneckPatchEmbed(3, 8, 2, 4, bias=True)])
def test_the_features_of_a_token_lie_side_by_side(kind):
    tokens = kind(torch.randn(2, 3, 4, 6))
    assert tokens.shape == (2, 6, 8)
    assert tokens.is_contiguous()
