"""Errors a person can act on: one sentence with what was given, what was expected and what to do."""


class DimbenchError(Exception):
    """Something failed for a reason the user can mend; the command exits with 1."""

    exit_code = 1


class UsageError(DimbenchError, ValueError):
    """A given value does not fit; the command exits with 2."""

    exit_code = 2


_LENGTH = 200  # characters of foreign text in a sentence of ours


def plain(text: object) -> str:
    """The first line of foreign text, fit for a message: without control characters and not endless."""
    line = next((line for line in str(text).splitlines() if line.strip()), "").strip()
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return shown if len(shown) <= _LENGTH else f"{shown[:_LENGTH]}..."


_SHORT = ("DefaultCPUAllocator", "llocate memory", "not enough memory", "failed to map segment", "out of memory")


def is_short_of_memory(error: BaseException) -> bool:
    """Whether Python, a library being loaded, or torch on a CPU, which has no error of its own, got no memory."""
    told = isinstance(error, RuntimeError | ImportError) and any(word in str(error) for word in _SHORT)
    return isinstance(error, MemoryError) or told


def reason(error: BaseException) -> str:
    """Why it failed, in few words; some errors of the system come without any."""
    return plain(getattr(error, "strerror", None) or error) or type(error).__name__
