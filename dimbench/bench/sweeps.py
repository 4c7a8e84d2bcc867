"""Named measuring plans: presets/sweeps/*.toml read into rows, without those that are done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench import conditions, names, preset_files, presets
from dimbench.bench import rows as plan
from dimbench.bench.rows import Row


@dataclass(frozen=True)
class Sweep:
    """`tables` hold `models` and, for each condition, the list of its values; `along` is the condition whose growth the
    sweep is about, "" for none."""

    name: str
    says: str
    along: str
    tables: tuple[Mapping[str, Any], ...]

    def rows(self, models: Sequence[str] | None = None, **fixed: Any) -> list[Row]:
        """Every combination once. `models` and what is in `fixed` take the place of what the sweep says."""
        found: dict[Row, None] = {}
        for table in self.tables:
            axes = {name: values for name, values in table.items() if name != "models" and name not in fixed}
            chosen = presets.chosen(models or table["models"])
            mode = "sample" if "steps" in {**axes, **fixed} else "inference"
            found.update(dict.fromkeys(plan.rows(chosen, axes, mode=mode, **fixed)))
        return list(found)


def all_sweeps() -> dict[str, Sweep]:
    """Every sweep by name, in alphabetical order."""
    contents = {file.stem: preset_files.load(file) for file in preset_files.files("sweeps")}
    return {name: _sweep(name, contents) for name in contents}


def find(name: str) -> Sweep:
    """The sweep called `name`. UsageError names what is near."""
    return names.find(name, all_sweeps(), "sweep")


def _sweep(name: str, contents: Mapping[str, Any]) -> Sweep:
    content = contents[name]
    included = [table for other in content.get("include", ()) for table in _sweep(other, contents).tables]
    return Sweep(name, content["says"], content.get("along", ""), (*content["rows"], *included))


def records_of(rows: Sequence[Row], records: Iterable[Mapping[str, Any]], device_name: str) -> list[Mapping[str, Any]]:
    """The last record of each row on this device, in the order of the rows."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if record["command"] == "bench" and record["conditions"].get("device_name") == device_name:
            found[_text(record.get("details", {}).get("row"))] = record
    return [found[text] for row in rows if (text := _text(row.identity)) in found]


def missing(rows: Sequence[Row], records: Iterable[Mapping[str, Any]], device_name: str) -> list[Row]:
    """The rows without a record of this device; one that was too big for it has a record, too."""
    done = {_text(record["details"]["row"]) for record in records_of(rows, records, device_name)}
    return [row for row in rows if _text(row.identity) not in done]


def _text(key: Mapping[str, Any] | None) -> str:
    return conditions.key(key or {})
