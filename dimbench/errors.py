"""Errors a person can act on: one sentence with what was given, what was expected and what to do."""


class DimbenchError(Exception):
    """Something failed for a reason the user can mend; the command exits with 1."""

    exit_code = 1


class UsageError(DimbenchError, ValueError):
    """A given value does not fit; the command exits with 2."""

    exit_code = 2
