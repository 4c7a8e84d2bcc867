from __future__ import annotations

import warnings

import pytest
import torch

from dimbench.errors import UsageError
from dimbench.kernels import backends
from dimbench.kernels.haar import haar
from dimbench.kernels.selective_scan import backends as scan_backends
from dimbench.kernels.selective_scan import selective_scan
from tests.kernels.scan_cases import cast, inputs

FLOAT64 = inputs(1, 5, 3, 2)
FLOAT32 = cast(FLOAT64, torch.float32)


def test_every_folder_of_a_kernel_names_its_backends() -> None:
    found = backends.operators()
    assert {"haar", "selective_scan"} <= set(found)
    for operator in found.values():
        assert operator.names[-1] == "reference"
        assert operator.why_not("reference") is None


def test_the_choice_follows_the_inputs() -> None:
    assert scan_backends.backend_for(*FLOAT32) == "cpu"
    assert scan_backends.backend_for(*FLOAT64) == "reference"


def test_reasons_are_given() -> None:
    assert "float64" in (scan_backends.why_not("cpu", *FLOAT64) or "")
    assert "meta" in (scan_backends.why_not("cpu", *(t.to("meta") for t in FLOAT32)) or "")
    wide = cast(inputs(1, 2, 3, 300), torch.float32)
    assert "300" in (scan_backends.why_not("cpu", *wide) or "")


def test_a_forced_backend_runs_and_the_choice_returns_after_it() -> None:
    with backends.watch() as used:
        with backends.use("reference"):
            selective_scan(*FLOAT32)
        assert used == {"selective_scan": "reference"}
        selective_scan(*FLOAT32)
        assert used == {"selective_scan": "cpu"}
    selective_scan(*FLOAT64)
    assert used == {"selective_scan": "cpu"}


def test_a_forced_backend_that_cannot_run_is_an_error() -> None:
    with backends.use("cpu"), pytest.raises(UsageError, match=r"cpu cannot run selective_scan here: .*float64"):
        selective_scan(*FLOAT64)


def test_a_forced_backend_binds_only_operators_that_have_it() -> None:
    with backends.watch() as used, backends.use("triton"):
        haar(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    assert used == {"haar": "reference"}


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no kernel 'cuda'.*cpu.*reference"), backends.use("cuda"):
        pass


def test_what_does_not_apply_is_left_out_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(*FLOAT64)
