"""One file per command."""

from dimbench.sampling import decoding as decoding  # scripts know it by this name
