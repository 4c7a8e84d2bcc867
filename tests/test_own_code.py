"""Which files a network of the user's own consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimbench import own_code, presets

FILES = {
    "my_model.py": "import torch\nfrom blocks.deep.inner import Block\nfrom kit import Net\n"
    "def build():\n    import late\n    return late.Net()\n",
    "blocks/deep/inner.py": "import json\nclass Block: ...\n",  # below folders without __init__.py
    "kit/__init__.py": "from .parts import Net\n",
    "kit/parts.py": "from ..kit.more import x\nfrom . import twin\n",
    "kit/more.py": "import my_model\nx = 1\n",  # in a circle
    "kit/twin.py": "import os.path\n",
    "late.py": "import blocks.broken\n",
    "blocks/broken.py": "def\n",
}
BESIDE = {"other.py": "", "kit/other.py": "", "blocks/torch.py": "", "os.py/x.py": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {**FILES, **BESIDE}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", [*FILES, *BESIDE])
def test_what_it_imports_decides_and_nothing_else(name: str, folder: Path) -> None:
    before = own_code.digest_of(f"{folder}/my_model.py")
    (folder / name).write_text("# edited\n" + (folder / name).read_text())
    assert (own_code.digest_of(f"{folder}/my_model.py") != before) is (name in FILES)


def test_a_package_is_found_where_python_looks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    before = presets.code_of("kit.parts:Net,width=3")
    assert before is not None
    (folder / "kit" / "__init__.py").write_text("")
    assert presets.code_of("kit.parts:Net") != before


@pytest.mark.parametrize("name", ["dit-s2", "torchvision.models:vgg11", "diffusers:UNet2DModel", "hf:a/b", "no.py:Net",
                                  "no_such:Net", "sys:path", "./no/folder"])  # fmt: skip
def test_what_has_a_version_or_is_not_there_has_none(name: str) -> None:
    assert presets.code_of(name) is None
