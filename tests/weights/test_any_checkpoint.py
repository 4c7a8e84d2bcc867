"""Whatever bytes or dictionaries a checkpoint is made of, reading it gives weights or one sentence."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.weights.checkpoints import fill
from dimbench.weights.opening import open_checkpoint

_LONGEST = 2000  # characters of a sentence, names and paths included

few = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


WEIGHTS = network().state_dict()


def torch_bytes(content: Any, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


WHOLE = [torch_bytes(WEIGHTS), torch_bytes({"ema": WEIGHTS, "step": 3}, old=True), save(WEIGHTS)]


def fine(call: Callable[[], Any]) -> bool:
    """Whether the call gave a value; else it must have refused in one clean sentence."""
    said = ""
    try:
        call()
    except DimbenchError as error:
        said = str(error)
    assert not said or said.isprintable(), repr(said)
    assert len(said) < _LONGEST
    return not said


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A whole file of weights with some bytes replaced, left out or put in, or cut off."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A safetensors file whose header says anything."""
    entry = st.fixed_dictionaries(
        {"dtype": st.sampled_from(["F32", "I8", "X"]), "shape": st.lists(st.integers(-1, 2**60), max_size=3)},
        optional={"data_offsets": st.lists(st.integers(-1, 2**60), max_size=3)},
    )
    header = json.dumps(draw(st.dictionaries(st.text(max_size=5), entry, max_size=3))).encode()
    length = draw(st.sampled_from([len(header), 0, 2**63, len(header) + 1]))
    return struct.pack("<Q", length) + header + draw(st.binary(max_size=32))


any_bytes = st.one_of(st.binary(max_size=300), damaged(), headers())


def check_bytes(folder: Path, data: bytes) -> None:
    file = folder / "any.pt"
    file.write_bytes(data)
    fine(lambda: fill(network(), file))


@few
@given(data=any_bytes)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    check_bytes(tmp_path_factory.getbasetemp(), data)


@pytest.mark.slow
@many
@given(data=any_bytes)
def test_any_bytes_at_length(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    check_bytes(tmp_path_factory.getbasetemp(), data)


OWN_NAMES = st.sampled_from(list(WEIGHTS))
PREFIXES = st.sampled_from(["", "module.", "_orig_mod.", "model.", "ema.", "net_ema.", "projectors.", "\x1b[31m"])
KEYS = st.one_of(
    st.builds(str.__add__, PREFIXES, OWN_NAMES),
    st.sampled_from(["ema", "model", "state_dict", "module", "shadow_params", "opt", "step", "n_averaged", "args"]),
    st.text(max_size=6),
    st.integers(),
    st.none(),
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.sampled_from([(3, 2), (3,), (), (0,), (2, 3)]))
    tensor = torch.zeros(shape).to(draw(st.sampled_from([torch.float32, torch.float16, torch.int8, torch.complex64])))
    match draw(st.sampled_from(["plain", "plain", "plain", "meta", "sparse", "nan", "parameter"])):
        case "meta":
            return tensor.to("meta")
        case "sparse":
            return tensor.to_sparse()
        case "nan":
            return tensor + float("nan")
        case "parameter":
            return nn.Parameter(tensor, requires_grad=False)
    return tensor


LEAVES = st.one_of(
    tensors(), st.none(), st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.just(dict(WEIGHTS))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=7), st.dictionaries(KEYS, inner, max_size=7)),
    max_leaves=30,
)
DICTIONARIES = st.dictionaries(KEYS, VALUES, max_size=8)


def check_dictionary(content: Any) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if not fine(lambda: fill(model, content)):
        after = model.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)


@few
@given(content=DICTIONARIES)
def test_any_dictionary(content: Any) -> None:
    check_dictionary(content)


@pytest.mark.slow
@many
@given(content=DICTIONARIES)
def test_any_dictionary_at_length(content: Any) -> None:
    check_dictionary(content)


JSON = st.recursive(
    st.one_of(
        st.none(), st.integers(), st.floats(), st.text(max_size=9), st.sampled_from(["any.safetensors", ".", "/"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)),
    max_leaves=12,
)
INDEXES = st.one_of(
    JSON,
    st.builds(lambda places: {"weight_map": places}, st.one_of(JSON, st.dictionaries(OWN_NAMES, JSON, min_size=1))),
)


@few
@given(index=INDEXES)
def test_any_index(tmp_path_factory: pytest.TempPathFactory, index: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.safetensors").write_bytes(WHOLE[2])
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps(index))
    fine(lambda: open_checkpoint(file))


def test_the_strategies_reach_both_ends(tmp_path: Path) -> None:
    """A property over nothing but refusals would hold of a reader that reads nothing."""
    outcomes = set()

    @few
    @given(content=DICTIONARIES, data=any_bytes)
    def look(content: Any, data: bytes) -> None:
        outcomes.add(("dictionary", fine(lambda: fill(network(), content))))
        file = tmp_path / "any.pt"
        file.write_bytes(data)
        outcomes.add(("bytes", fine(lambda: fill(network(), file))))

    look()
    assert outcomes == {(what, end) for what in ("dictionary", "bytes") for end in (True, False)}
