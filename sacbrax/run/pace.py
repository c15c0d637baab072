"""How much of the training a call takes on: about a second, so that the host can listen for signals in between."""

CALL_SECONDS = 1.0  # of training between two looks at signals
CALL_GROWTH = 8  # the first calls are short, until the speed is known


class Pace:
    """Learns from the calls before; the length of a call changes no bit of what it computes."""

    def __init__(self) -> None:
        self._iterations = CALL_GROWTH

    def rounds(self, most: int, interval: int) -> int:
        """Of `interval` vector steps each, in at most `most` vector steps, but one at least."""
        return max(1, min(self._iterations, most) // interval)

    def took(self, iterations: int, seconds: float) -> None:
        """A call of so many vector steps."""
        fitting = max(1, int(iterations * CALL_SECONDS / max(seconds, 1e-6)))
        self._iterations = min(fitting, max(self._iterations, CALL_GROWTH * iterations))
