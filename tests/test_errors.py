from __future__ import annotations

import pytest

from dimbench.errors import reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("4096 requested and 0 written"), "4096 requested and 0 written"),
        (OSError(), "OSError"),
        (RuntimeError("first\nsecond"), "first"),
    ],
)
def test_there_is_always_a_reason(error: Exception, words: str) -> None:
    assert reason(error) == words
