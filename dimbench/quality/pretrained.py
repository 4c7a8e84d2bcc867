"""Networks of transformers, whole, from folders that it or their authors wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dimbench.diffusers_networks.loading import quietly
from dimbench.errors import DimbenchError, reason


def pretrained(network: str, folder: Path, what: str, home: str) -> Any:
    """The class `network` of transformers with the weights in a folder. DimbenchError where it holds no such network,
    or not all of it: transformers itself would draw what is missing at random."""
    if not folder.is_dir():  # transformers would take it for a name on the hub
        raise DimbenchError(f"{folder} is no folder that could give {what}; download {home}, and give where it lies")
    try:
        import transformers

        bars = transformers.utils.logging.is_progress_bar_enabled()
        with quietly():
            transformers.utils.logging.disable_progress_bar()
            model, found = getattr(transformers, network).from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
            if bars:
                transformers.utils.logging.enable_progress_bar()
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        raise DimbenchError(f"{folder} gives no {what} ({reason(error)}); download {home}") from None
    if missing := sorted(found["missing_keys"]):
        raise DimbenchError(f"{folder} gives no {what}: {missing[0]} is not in its weights; download {home}")
    return model.eval()
