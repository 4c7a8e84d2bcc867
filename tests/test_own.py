"""Networks of the user's own: from a file, from a package, in hand, by a preset file; counted, timed and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import dimbench as api
from dimbench import backbone, methods, presets
from dimbench.errors import DimbenchError, UsageError
from dimbench.foreign import quoted
from dimbench.own import Own
from dimbench.sampling.drawing import Drawing
from tests.console import dimbench, refused

CODE = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self, width: int = 8, gate: bool = False, in_channels: int = 4):
        super().__init__()
        assert isinstance(width, int) and isinstance(gate, bool)
        self.in_channels = in_channels
        self.first = nn.Conv2d(in_channels, width, 1)
        self.label = nn.Embedding(1001, width)
        self.last = nn.Conv2d(width, in_channels, 1)

    def forward(self, x, t, y):
        return self.last(self.first(x) + (t[:, None] + self.label(y))[:, :, None, None])

class Told(nn.Module):
    def __init__(self):
        super().__init__()
        self.text = nn.Linear(16, 4)

    def forward(self, sample, timestep, context):
        return sample + self.text(context).mean(1)[:, :, None, None]

def rates():
    torch.linspace(0, 1, 3).tolist()
    return nn.Linear(4, 4)

def number():
    return 3
"""


BESIDE = """
def inputs(batch, resolution, device):
    make = lambda *shape: torch.randn(batch, *shape, device=device)
    return {"sample": make(4, 8, 8), "timestep": make(), "context": make(7, 16)}
"""

PRESET = """
backbone = "my_model.py:MyNet"
resolution = 8
latent_stride = 1

[diffusion]
process = "flow"
sampler = "euler"
null_label = 1000

[variants.my-net]
config = { width = 16, in_channels = 1 }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_model.py"
    path.write_text(CODE)
    return path


def macs(width: int, side: int = 32) -> int:
    return 2 * 4 * width * side * side


def test_a_file_is_counted_beside_a_name_of_ours(file: Path) -> None:
    own, wide, ours = json.loads(
        dimbench("flops", "my_model.py:MyNet", "my_model.py:MyNet,width=16", "dit-s8", "--json").stdout
    )
    assert (own["model"], own["metrics"]["macs"]) == ("my_model.py:MyNet", macs(8))
    assert (wide["model"], wide["metrics"]["macs"]) == ("my_model.py:MyNet,width=16", macs(16))
    assert ours["model"] == "dit-s8"
    (large,) = json.loads(
        dimbench("flops", "my_model.py:MyNet", "--set", "gate=yes", "--resolution", 512, "--json").stdout
    )
    assert large["metrics"]["macs"] == macs(8, 64)


def test_inputs_are_given_by_option_or_beside_the_network(file: Path) -> None:
    words = ("flops", "my_model.py:Told", "--json")
    assert "'context'" in refused(2, *words)
    (given,) = json.loads(dimbench(*words, "--input", "sample=4x8x8", "--input", "context=5x16").stdout)
    assert given["metrics"]["macs"] == 5 * 16 * 4
    file.write_text(CODE + BESIDE)
    (beside,) = json.loads(dimbench(*words).stdout)
    assert beside["metrics"]["macs"] == 7 * 16 * 4


@pytest.mark.parametrize(
    "words",
    [
        ("flops", "--breakdown", "operator"),
        ("flops", "--breakdown", "module"),
        ("flops", "--check"),
        ("bench", "--budget", "0.1"),
    ],
)
def test_what_has_no_pixels_is_titled_by_its_inputs(words: tuple[str, ...], file: Path) -> None:
    ran = dimbench(words[0], "torch.nn:Linear,in_features=3,out_features=2", "--input", "input=3", *words[1:])
    assert ran.code == 0, ran.stderr
    said = ran.stdout.partition("Other work")[0]  # where a busy machine names it once more
    assert "input=3" in said


def test_a_network_is_told_its_samples_first(file: Path) -> None:
    found, seen = backbone.find(f"{file}:MyNet"), []
    model = found.build()
    model.forward = lambda **kwargs: (seen.extend(kwargs), kwargs["x"])[1]  # type: ignore
    found.call(model, torch.zeros(1, 4, 8, 8), torch.zeros(1), found.given([0], "cpu"))
    assert seen == ["x", "t", "y"]


def test_a_package_and_a_factory_that_asks_for_values_are_counted(file: Path) -> None:
    (linear,) = json.loads(dimbench("flops", "my_model.py:rates", "--input", "input=3x4", "--json").stdout)
    assert linear["metrics"]["macs"] == 3 * 4 * 4
    (package,) = json.loads(
        dimbench("params", "torch.nn:Linear,in_features=3,out_features=2", "--input", "input=3", "--json").stdout
    )
    assert package["metrics"]["params"] == 8


def test_a_module_in_hand_keeps_its_weights() -> None:
    module = nn.Linear(4, 6)
    (record,) = api.count(module, torch.randn(2, 5, 4))
    assert record.metrics["macs"] == 5 * 4 * 6
    found = backbone.find(module, inputs=(torch.randn(2, 5, 4),))
    assert torch.equal(found.build().weight, module.weight)
    assert isinstance(found, Own)
    assert not module.weight.is_meta


def test_a_module_in_hand_is_left_as_it_was() -> None:
    module = nn.Linear(4, 4)
    before = module.weight.clone()
    for how in ({"dtype": "bf16"}, {"mode": "train", "process": "flow"}):
        api.bench(module, "input=4", budget=0.05, **how)
    assert module.training
    assert torch.equal(module.weight, before)


def test_a_module_in_hand_is_drawn_by_its_own_weights(tmp_path: Path) -> None:
    class Says(nn.Module):
        def __init__(self, what: float) -> None:
            super().__init__()
            self.what = nn.Parameter(torch.full((1, 1, 1), what))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.what.expand_as(x)

    asked: dict = {"inputs": "x=1x8x8", "process": "flow", "sampler": "euler", "steps": 2, "num_images": 2}
    far, near = (api.sample(Says(what), tmp_path / f"{what:g}", **asked) for what in (9.0, 0.5))
    assert far.conditions["weights"] != near.conditions["weights"]
    (images,) = (np.load(file)["arr_0"] for file in tmp_path.glob("9*/*.npz"))
    assert (images == 255).all()
    with pytest.raises(DimbenchError, match="holds images of another run"):
        api.sample(Says(8.0), tmp_path / "9", **asked)


def test_real_counts_are_of_the_values_given() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(4, 400)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.wide(x[x[:, 0] > 0]) if bool((x > 0).any()) else x

    told = -torch.ones(30, 4)
    told[7] = 1
    (record,) = api.count(Routed(), told, batch=30, real=True)
    assert record.metrics["macs"] == 4 * 400 // 30


def test_inputs_of_half_precision_and_of_other_shapes_of_time_are_given_as_they_are() -> None:
    module = nn.Conv2d(4, 4, 1).to(torch.bfloat16)
    (record,) = api.count(module, torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16))
    assert record.metrics["macs"] == 16 * 64

    class Timed(nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            assert t.shape == (len(x), 4, 1)
            return x + t

    backbone_of_it = backbone.find(Timed(), inputs=["x=4x8", "t=4x1"])
    x, t, given = backbone.example(backbone_of_it, 3)
    assert backbone_of_it.call(Timed(), x, t, given).shape == (3, 4, 8)


def test_a_network_that_takes_time_as_it_comes_is_timed_in_half_precision(tmp_path: Path) -> None:
    file = tmp_path / "timed.py"
    file.write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.time = nn.Linear(1, 4)\n\n    def forward(self, x, t):\n"
        "        return x + self.time(t[:, None])[:, :, None, None]\n"
    )
    (record,) = json.loads(
        dimbench("bench", f"{file}:Net", "--resolution", 64, "--dtype", "bf16", "--budget", 0.05, "--json").stdout
    )
    assert record["conditions"]["dtype"] == "bf16"
    assert record["metrics"]["seconds"] > 0


@pytest.mark.parametrize(
    ("what", "inputs", "said"),
    [
        (nn.LazyLinear(3), torch.zeros(1, 4), "made at their first call"),
        (nn.Bilinear(4, 4, 4), (torch.zeros(2, 4), torch.zeros(3, 4)), r"\(input1 2, input2 3\)"),
        ("torch.nn:Identity", (torch.zeros(1, 4),), "not Tensor"),
        ("torch.nn:Identity", {"input": torch.zeros(1, 4)}, "not dict"),
    ],
)
def test_what_cannot_be_called_with_these_is_refused(what: object, inputs: object, said: str) -> None:
    for verb in (api.count, api.bench):
        with pytest.raises(UsageError, match=said):
            verb(what, inputs)


@pytest.mark.parametrize("what", [nn.Linear, 3, None])
def test_what_is_no_network_is_refused(what: object) -> None:
    with pytest.raises(UsageError, match=r"is no network; give a module, such as MyNet\(\)"):
        api.count(what)


def test_a_network_without_labels_is_drawn_onto_a_sheet(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.scale * x

    given = ["x=1x8x8", "t=scalar"]
    settings = {"num_images": 3, "steps": 2, "random_weights": True}
    record = api.sample(Scaled(), tmp_path / "a.png", given, process="flow", **settings)
    assert record.conditions["num_images"] == 3
    assert (tmp_path / "a.png").is_file()
    with pytest.raises(UsageError, match="unknown process 'flaw'"):
        api.fid(Scaled(), inputs=given, process="flaw", **settings)


def test_modules_are_compared_by_their_records() -> None:
    counted = [api.count(module, torch.randn(2, 4)) for module in (nn.Linear(4, 6), nn.Linear(4, 8))]
    changed = {record.details["metric"]: record for record in api.compare(*counted, fail_if=["macs"])}
    assert changed["macs"].metrics["ratio"] == pytest.approx(8 / 6)
    mixed = api.count([nn.Linear(4, 6), "dit-s8"], torch.randn(2, 4))
    assert [record.model for record in mixed] == ["Linear", "dit-s8"]


def test_a_preset_file_of_ones_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "dimbench.toml").write_text(PRESET)
    presets.all_presets.cache_clear()
    try:
        (record,) = json.loads(dimbench("flops", "my-net", "--steps", 5, "--cfg", "--json").stdout)
        assert record["metrics"]["run_macs"] == 4 * 2 * 2 * 16 * 64
        words = (
            "sample",
            "my-net",
            "--steps",
            3,
            "--num-images",
            2,
            "--random-weights",
            "--out",
            file.parent / "sheet.png",
        )
        (drawn,) = json.loads(dimbench(*words, "--json").stdout)
        assert drawn["metrics"]["network_calls"] == 2
        assert (file.parent / "sheet.png").is_file()
    finally:
        (file.parent / "dimbench.toml").unlink()
        presets.all_presets.cache_clear()


def test_a_published_fid_of_ones_own_need_not_name_its_decoder(file: Path) -> None:
    how = '{ fid = "31.4", source = "notes", sampling = { sampler = "ddpm", steps = 250, cfg = 1.5 } }'
    (file.parent / "dimbench.toml").write_text(f"{PRESET}recipes = [{how}]\n")
    presets.all_presets.cache_clear()
    try:
        assert "ddpm 250, decoder not stated" in dimbench("recipes", "my-net-*").stdout
        assert "not stated" in dimbench("list", "my-net", "--for", "imagenet-8").stdout
        (row,) = json.loads(dimbench("list", "my-net", "--for", "imagenet-8", "--json").stdout)
        assert row["latent"] == []
    finally:
        (file.parent / "dimbench.toml").unlink()
        presets.all_presets.cache_clear()


def test_a_folder_of_images_is_of_one_process(file: Path) -> None:
    words = ("sample", "my_model.py:MyNet", "--resolution", 32, "--steps", 2, "--num-images", 1, "--random-weights",
             "--format", "latents", "--out", "drawn", "--process")  # fmt: skip
    assert dimbench(*words, "rectified-flow").code == 0
    assert "holds images of another run (process" in refused(1, *words, "rectified-flow,shift=3")
    assert "--process flow has no meaning for dit-s8" in refused(2, "flops", "dit-s8", "--process", "flow")


def test_images_of_a_file_that_changed_are_not_taken_for_its_own(file: Path) -> None:
    words = ("sample", "my_model.py:MyNet", "--resolution", 32, "--steps", 2, "--num-images", 1, "--random-weights",
             "--process", "flow", "--as", "latents", "--to", "drawn")  # fmt: skip
    assert dimbench(*words).code == 0
    assert dimbench(*words).code == 0
    file.write_text(file.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert "holds images of another run (code" in refused(1, *words)
    (file.parent / "beside.py").write_text("x = 1\n", encoding="utf-8")
    file.write_text(file.read_text(encoding="utf-8") + "\nimport beside\n", encoding="utf-8")
    assert dimbench(*words[:-1], "with-beside").code == 0
    (file.parent / "beside.py").write_text("x = 2\n", encoding="utf-8")
    assert "holds images of another run (code" in refused(1, *words[:-1], "with-beside")
    part = "\nimport functools\n\npart = functools.partial(MyNet, width=8)\n"
    file.write_text(file.read_text(encoding="utf-8") + part, encoding="utf-8")
    assert dimbench(words[0], "my_model.py:part", *words[2:-1], "of-part").code == 0


def test_a_guide_stands_in_for_no_class_and_is_called_as_the_guided(file: Path) -> None:
    given = ("--input", "x=4x8x8", "--process", "flow")
    for width in (4, 8):
        torch.save(backbone.find(f"my_model.py:MyNet,width={width}").build().state_dict(), f"{width}.pt")
    guided = ("my_model.py:MyNet", *given, "--steps", 2, "--num-images", 1, "--weights", "8.pt")
    assert "is told 'no class'" in refused(2, "sample", *guided, "--cfg", 2)
    guide = "my_model.py:MyNet,width=4"
    drawn = ("sample", *guided, "--cfg", 2, "--guide", f"{guide}:4.pt", "--to", "drawn")
    assert dimbench(*drawn).code == 0
    torch.save({name: 2 * tensor for name, tensor in torch.load("4.pt").items()}, "4.pt")
    assert "holds images of another run (guide_weights" in refused(1, *drawn)
    assert "no weights of" in refused(2, *drawn[:-3], guide, "--to", "of-none")
    dry = [*drawn[:-3], guide, "--to", "dry"]
    dry[dry.index("--weights") : dry.index("8.pt") + 1] = ["--random-weights"]
    assert dimbench(*dry).code == 0
    words = ("--cfg", "--with", f"autoguidance:guide={guide},weights=4.pt", "--json")
    (record,) = json.loads(dimbench("flops", *guided[:7], *words).stdout)
    found = record["metrics"]
    products = 4 * (8 + 4) * 8 * 8 * 2  # of the networks' two convolutions
    assert (found["run_macs"], found["share_of_plain"]) == (products * found["network_calls"], None)


def test_the_file_of_a_guide_decides_images_too(file: Path) -> None:
    def code() -> dict[str, str]:
        settings = SimpleNamespace(methods=methods.parse([f"autoguidance:guide={file}:MyNet,width=8"]))
        seen = SimpleNamespace(backbone=backbone.find("dit-s2"), settings=settings)
        return vars(Drawing)["code"].fget(seen)

    before = code()
    assert before == code() != {}
    file.write_text(file.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert before != code()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("widht = 3", "mine has no setting 'widht'"),
        ("depth = 2.0", "depth 2.0 is not understood; give a whole number"),
        ("mlp_ratio = inf", "mlp_ratio inf is not understood; give a finite number"),
    ],
)
def test_a_config_that_the_family_does_not_take_is_refused(config: str, said: str, file: Path) -> None:
    (file.parent / "dimbench.toml").write_text(f'backbone = "dit"\n[variants.mine]\nconfig = {{ {config} }}\n')
    presets.all_presets.cache_clear()
    try:
        with pytest.raises(UsageError, match=said):
            api.create_model("mine")
    finally:
        presets.all_presets.cache_clear()


def test_it_is_timed_in_a_process_of_its_own(file: Path) -> None:
    (record,) = json.loads(dimbench("bench", "my_model.py:MyNet", "--budget", 0.2, "--json").stdout)
    assert record["model"] == "my_model.py:MyNet"
    assert record["metrics"]["macs"] == macs(8)
    assert record["metrics"]["seconds"] > 0


def test_what_it_was_trained_on_makes_runs_and_training_timed(file: Path) -> None:
    words = ("bench", "my_model.py:MyNet", "dit-digits", "--resolution", 64, "--budget", 0.05, "--json")
    assert "nothing says what process" in refused(2, *words, "--steps", 2)
    for more in (("--steps", 2), ("--mode", "train")):
        mine, ours = json.loads(dimbench(*words, "--process", "rectified-flow", *more).stdout)
        assert mine["conditions"]["process"] == mine["details"]["row"]["process"] == "rectified-flow"
        assert "process" not in {**ours["conditions"], **ours["details"]["row"]}
        assert min(mine["metrics"]["seconds"], ours["metrics"]["seconds"]) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.py:MyNet"], "there is no file absent.py"),
        (["my_model.py:MyNett"], "did you mean MyNet"),
        (["my_model.py"], ":MyNet"),
        (["my_model.py:number"], "gave int and no module"),
        (["my_model.py:MyNet,widht=3"], "did you mean width"),
        (["my_model.py:MyNet,width=much"], "no int"),
        (["no_such_package.nets:Net"], "there is no module"),
        (["my_model.py:MyNet", "--input", "x=4x"], "not understood"),
        (["my_model.py:MyNet", "--input", "x=4x8x8:float8"], "no dtype"),
        (["dit-s8", "--input", "x=4x8x8"], "has no meaning for dit-s8"),
    ],
)
def test_bad_input_is_one_sentence(file: Path, words: list[str], said: str) -> None:
    assert said in refused(2, "flops", *words)


def test_only_a_want_of_memory_is_no_error_of_the_users_code(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    )
    file.with_name("large.py").write_text(
        f"def net(): raise RuntimeError({said!r})\ndef odd(): raise ValueError('memory')"
    )
    with pytest.raises(RuntimeError, match="allocate memory"):
        backbone.find("large.py:net").build()
    with pytest.raises(DimbenchError, match="ValueError: memory"):
        backbone.find("large.py:odd").build()
    monkeypatch.setattr("diffusers.DiTTransformer2DModel.__init__", short_of_memory)
    with pytest.raises(RuntimeError, match="allocate memory"):
        backbone.find("diffusers:DiTTransformer2DModel").build()


def short_of_memory(self: nn.Module, num_layers: int = 1) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def test_errors_of_the_users_code_are_quoted(file: Path) -> None:
    (file.parent / "broken.py").write_text("import torch\nraise ValueError('no luck today')\n")
    with pytest.raises(DimbenchError, match="ValueError: no luck today"):
        backbone.find("broken.py:Net")
    assert "forward refuses" in refused(1, "flops", "my_model.py:MyNet", "--input", "x=3x8x8")
    with pytest.raises(UsageError):
        backbone.find("my_model.py:Absent")


def test_of_several_lines_the_last_is_quoted_and_an_exit_is_an_error(file: Path) -> None:
    (file.parent / "faulty.py").write_text(
        "def lines():\n    raise ValueError('in short\\nthe cause\\n')\n\n\ndef ends():\n    raise SystemExit(3)\n"
    )
    assert "no arguments: ValueError: the cause" in refused(1, "flops", "faulty.py:lines")
    assert "no arguments: SystemExit: 3" in refused(1, "flops", "faulty.py:ends")
    backends = NotImplementedError("Could not run 'aten::nonzero'\n\nCPU: registered at here")
    assert quoted(backends) == "NotImplementedError: Could not run 'aten::nonzero'"


def test_a_width_of_nothing_is_no_warning_of_torchs(file: Path, recwarn: pytest.WarningsRecorder) -> None:
    dimbench("flops", "my_model.py:MyNet,width=0")
    assert not [str(each.message) for each in recwarn if "zero-element" in str(each.message)]


def test_a_file_that_changed_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counts = []
    for width in (8, 64):
        (tmp_path / "changing.py").write_text(
            f"from torch import nn\n\n\ndef net():\n    return nn.Linear(4, {width})\n"
        )
        words = ("flops", "changing.py:net", "--input", "input=1x4", "--json")
        counts.append(json.loads(dimbench(*words).stdout)[0]["metrics"]["macs"])
    assert counts == [4 * 8, 4 * 64]
