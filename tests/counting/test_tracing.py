from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import sys
from dimbench import presets, backbone
from dimbench.counting.bill import trace
from dimbench.meta import shapes_only
from tests import example

preset = presets.find(sys.argv[1])
with shapes_only():
    model = example.of(preset).running(example.built(preset))
trace(model, example.inputs(model, 1, "meta"), 1)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.parametrize("name", ["udit-t48", "dim-s2"])
def test_counting_does_not_load_the_compiler(name: str) -> None:
    """It would take longer than all the rest of a count."""
    subprocess.run([sys.executable, "-c", COUNT, name], check=True)
