"""Numbers for files that people and other programs read."""

import math
from typing import Any


def plain_number(value: Any) -> Any:
    """A JSON-ready number; None for NaN and infinity, which JSON does not have."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
