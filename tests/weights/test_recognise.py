"""Files are recognised by what they hold."""

from __future__ import annotations

from typing import Any

import pytest

from dimbench import presets
from dimbench.errors import DimbenchError
from dimbench.presets import Checkpoint, Preset
from dimbench.weights import recognise
from dimbench.weights.checkpoints import Shapes
from tests.weights import tiny

REAL = [(preset, file) for preset in presets.all_presets().values() for file in preset.checkpoints if not file.ships]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry without its small models, which take time to build and are like none of the published ones."""
    owners = {preset.name for preset, _ in REAL}
    chosen = {n: p for n, p in presets.all_presets().items() if n in owners or p.counted.get("params", 0) > 4e8}
    monkeypatch.setattr(presets, "all_presets", lambda: chosen)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("preset", "file"), REAL, ids=lambda value: getattr(value, "file", "of"))
def test_every_published_file_is_recognised(preset: Preset, file: Checkpoint) -> None:
    given = recognise._shapes(preset, file.resolution, file.config)
    assert given is not None
    fits = recognise.recognise(given)
    assert file.file in [entry.name for entry in recognise.published(fits, given)]
    (fit,) = [fit for fit in fits if fit.preset == preset]
    assert fit.any_resolution or fit.resolution == file.resolution
    assert fit.options == file.config


def shapes(name: str = "tiny-dit", resolution: int = 8, **options: Any) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in tiny.state(name, resolution, **options).items()}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.install(monkeypatch)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("resolution", "options", "rows"),
    [
        (8, {}, 11),
        (32, {}, 11),
        (8, {"num_classes": 1, "label_dropout": -1}, 1),
        (64, {"num_classes": 10, "label_dropout": -1}, 10),
        (8, {"num_classes": 20}, 21),
        (32, {"learn_sigma": False, "num_classes": 1000}, 1001),
    ],
)
def test_resolution_and_options_are_told_from_the_shapes(resolution: int, options: dict[str, Any], rows: int) -> None:
    given = shapes(resolution=resolution, **options)
    fits = recognise.recognise(given)
    assert [fit.preset.name for fit in fits] == ["tiny-dit", "tiny-sit"]
    for fit in fits:
        assert (fit.resolution, fit.options, fit.label_rows, fit.any_resolution) == (resolution, options, rows, False)


@pytest.mark.usefixtures("small")
def test_published_files_need_the_same_shapes() -> None:
    def names(given: Shapes) -> list[str]:
        return [entry.name for entry in recognise.published(recognise.recognise(given), given)]

    assert names(shapes()) == ["tiny-8.pt"]
    assert names(shapes(resolution=16)) == ["tiny-16.pt"]
    assert names(shapes(**tiny.ONE_LABEL)) == ["tiny-faces.pt", "tiny-churches.pt"]
    assert names(shapes(num_classes=20)) == []


@pytest.mark.usefixtures("small")
def test_what_fits_nothing_is_told_apart_from_the_nearest() -> None:
    given = {**shapes("tiny-deep"), "blocks.1.extra": (3,)}
    del given["blocks.1.mlp.fc1.bias"]
    with pytest.raises(DimbenchError, match=r"nearest is tiny-deep: 1 missing .*mlp\.fc1\.bias.*1 unexpected .*extra"):
        recognise.recognise(given)
    wide = {key: tuple(2 * side for side in shape) for key, shape in shapes().items()}
    with pytest.raises(DimbenchError, match=r"the nearest is tiny-\w+: .* of another shape .*instead of"):
        recognise.recognise(wide)
