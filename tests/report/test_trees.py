from __future__ import annotations

from dimbench.report.trees import tree

ENTRIES = [
    ("embed", "linear", 2),
    ("blocks.0.fc", "linear", 5),
    ("blocks.0", "attention", 1),
    ("blocks.1.fc", "linear", 5),
    ("blocks.1", "attention", 1),
    ("blocks.2.fc", "linear", 6),
    ("", "matmul", 5),
]


def test_equal_blocks_stand_in_one_row_and_everything_adds_up() -> None:
    assert tree("net", ENTRIES) == [
        ("net", "", 25, "100.0 %"),
        ("  embed", "", 2, "8.0 %"),
        ("  blocks", "", 18, "72.0 %"),
        ("    0..1", "2 x", 12, "48.0 %"),
        ("      fc", "", 10, "40.0 %"),
        ("      (attention)", "", 2, "8.0 %"),
        ("    2", "", 6, "24.0 %"),
        ("      fc", "", 6, "24.0 %"),
        ("  (matmul)", "", 5, "20.0 %"),
    ]
