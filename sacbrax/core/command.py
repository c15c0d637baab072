"""What a command does with its process before anything else, even before it imports the rest. Quick to import."""

import sys

from sacbrax.core.signals import watch
from sacbrax.core.streams import Patient, standard_error


def begin() -> None:
    """Be ready for signals, and for a standard error that breaks. Once more is the same as once."""
    watch()
    if not isinstance(sys.stderr, Patient):
        sys.stderr = standard_error()
