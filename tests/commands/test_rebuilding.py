"""What an autoencoder makes of real images, as a user asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.processes import finish, start
from tests.commands.test_fid import inception, records
from tests.commands.test_ranks import TORCHRUN, figures
from tests.console import dimbench, refused
from tests.quality.test_images import pixels, write_folder
from tests.sampling.autoencoders import small

__all__ = ["inception"]  # a fixture


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    small().save_pretrained(tmp_path / "autoencoder")
    return tmp_path / "autoencoder"


@pytest.mark.slow
def test_an_autoencoder_is_compared_with_what_it_was_given(tmp_path: Path, autoencoder: Path, inception: Path) -> None:
    real = write_folder(tmp_path / "real", pixels(40, 16))
    asked = ["fid", "--images", real, "--autoencoder", autoencoder, "--inception", inception]
    (found,) = records(*asked)
    assert list(found["metrics"])[:3] == ["rfid", "psnr", "ssim"]
    assert "fid" not in found["metrics"]
    assert found["metrics"]["rfid"] > 0
    assert 0 < found["metrics"]["psnr"] < 30
    assert found["conditions"]["reference"] == "real"
    assert found["model"] == str(autoencoder)
    assert any("LPIPS was not measured" in warning for warning in found["warnings"])
    (other,) = records(
        *asked[:-2], "--inception", inception, "--reference", write_folder(tmp_path / "r", pixels(60, 16))
    )
    assert other["conditions"]["reference"] == "r"
    assert (other["metrics"]["psnr"], other["metrics"]["rfid"] == found["metrics"]["rfid"]) == (
        found["metrics"]["psnr"], False,
    )  # fmt: skip
    shown = dimbench(*asked).stdout
    assert all(words in shown for words in ("rFID-40", "PSNR (dB)", "SSIM"))
    assert " FID-40" not in shown


def test_sides_that_it_cannot_take_and_other_options_are_refused(
    tmp_path: Path, autoencoder: Path, inception: Path
) -> None:
    real = write_folder(tmp_path / "real", pixels(4, 20))
    given = ["fid", "--images", real, "--autoencoder", autoencoder, "--inception", inception]
    assert "takes sides that are multiples of 8; crop them" in refused(2, *given)
    assert "--steps is for images that are drawn" in refused(2, *given, "--steps", 3)
    assert "--autoencoder is for images that are drawn" in refused(2, "fid", "--real", "--autoencoder", autoencoder)
    assert "there is no autoencoder" in refused(2, "fid", "--images", real, "--autoencoder", "nonesuch")


SMALL_INCEPTION = """
from dimbench.cli import main
from dimbench.quality import features
from tests.commands.test_fid import Small
features.EXTRACTORS[Small.name] = Small
main()
"""


@pytest.mark.slow
def test_ranks_rebuild_together_what_one_rebuilds_alone(tmp_path: Path, autoencoder: Path, inception: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(SMALL_INCEPTION)
    write_folder(tmp_path / "real", pixels(70, 16))
    words = ("fid", "--images", "real", "--autoencoder", autoencoder, "--inception", inception, "--json")
    alone = figures(finish(start(tmp_path, script, *words, python=())))
    for count in (2, 3):
        assert figures(finish(start(tmp_path, count, script, *words, python=TORCHRUN))) == alone
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 3
