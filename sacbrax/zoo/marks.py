"""Public returns of SAC, and of the best of 2026, on Gymnasium's tasks after a million environment steps.

v4 and v5 of a task differ little in their physics and reward; each figure names what it was measured on.
"""

from typing import NamedTuple


class Mark(NamedTuple):
    """Somebody's mean return."""

    value: float
    whose: str


MARKS: dict[str, tuple[Mark, ...]] = {
    "swimmer": (Mark(345.6, "best public SAC, v5"),),
    "halfcheetah_v5": (
        Mark(9_535, "SAC, RL Zoo"),
        Mark(11_140, "SAC, rl_games, v5"),
        Mark(11_321, "SAC, v4"),
        Mark(14_465, "FlashSAC, v4"),
    ),
    "hopper_v5": (Mark(2_326, "SAC, RL Zoo"), Mark(2_787, "SAC, v4"), Mark(4_064, "FlashSAC, v4")),
    "walker2d_v5": (Mark(3_863, "SAC, RL Zoo"), Mark(4_536, "SAC, v4"), Mark(7_346, "FlashSAC, v4")),
    "ant_v5": (Mark(4_706, "SAC, v5"), Mark(5_734, "SAC, v4"), Mark(7_590, "FlashSAC, v4")),
    "humanoid_v5": (Mark(5_195, "SAC, v5"), Mark(12_606, "FlashSAC, v4")),
    "inverted_pendulum_v5": (Mark(1_000, "the most there is"),),
    "inverted_double_pendulum_v5": (Mark(9_350, "SAC"),),
    "reacher_v5": (Mark(-4, "SAC"),),
    "pusher_v5": (Mark(-20, "SAC"),),
}
