"""Files in the place of MuJoCo Menagerie's, as many as the tasks need that the tests train: a small tetrahedron for
every mesh, which nothing touches, and an arm of the Panda's names. Playground has the robots' own models."""

import re
import struct
from pathlib import Path

ROBOTS = {"locomotion/go1": "unitree_go1", "locomotion/g1": "unitree_g1", "locomotion/t1": "booster_t1"}
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
CORNERS = ((0.0, 0.0, 0.0), (0.02, 0.0, 0.0), (0.0, 0.02, 0.0), (0.0, 0.0, 0.02))  # m


def write(folder: Path, playground: Path) -> None:
    """All of them below `folder`; `playground` is the folder of the package's sources."""
    for place, robot in ROBOTS.items():
        assets = folder / robot / "assets"
        assets.mkdir(parents=True)
        for model in (playground / place / "xmls").glob("*.xml"):
            for mesh in re.findall(r'<mesh[^>]*file="([^"]+)"', model.read_text()):
                (assets / Path(mesh).name).write_bytes(tetrahedron())
    (folder / "franka_emika_panda").mkdir()
    (folder / "franka_emika_panda" / "mjx_panda.xml").write_text(panda())


def tetrahedron() -> bytes:
    """A mesh in the binary form of STL."""
    faces = [struct.pack("<12fH", 0, 0, 0, *(x for corner in face for x in CORNERS[corner]), 0) for face in FACES]
    return bytes(80) + struct.pack("<I", len(faces)) + b"".join(faces)


def panda() -> str:
    """An arm of seven hinges with a gripper of two slides, which the task's own scene includes: a chain of nine."""
    finger = (
        '<body name="{0}_finger" pos="0 {1}0.02 0.06"><inertial pos="0 0 0" mass="0.1" diaginertia="1e-4 1e-4 1e-4"/>'
    )
    finger += '<joint name="finger_joint{2}" type="slide" axis="0 {1}1 0" range="0 0.04" armature="0.1" damping="1"/>'
    finger += '<geom name="{0}_finger_pad" type="box" size="0.01 0.005 0.01" contype="1" conaffinity="2"/></body>'
    links = "".join(
        f'<body name="link{i}" pos="0.03 0 0.12"><inertial pos="0 0 0" mass="1" diaginertia="1e-2 1e-2 1e-2"/>'
        f'<joint name="joint{i}" axis="{"0 0 1" if i % 2 else "0 1 0"}" range="-2.9 2.9" armature="0.1" damping="1"/>'
        for i in range(1, 8)
    )
    motors = "".join(
        f'<position name="actuator{i}" joint="{joint}" kp="{gain}" ctrlrange="{span}"/>'
        for i, (joint, gain, span) in enumerate(
            [*((f"joint{i}", 100, "-2.9 2.9") for i in range(1, 8)), ("finger_joint1", 100, "0 0.04")], start=1
        )
    )
    return (
        f'<mujoco><compiler angle="radian"/><worldbody>{links}'
        '<body name="hand" pos="0 0 0.1"><inertial pos="0 0 0" mass="0.5" diaginertia="1e-3 1e-3 1e-3"/>'
        '<site name="gripper" pos="0 0 0.1"/>'
        '<geom name="hand_capsule" type="capsule" size="0.03 0.03" contype="1" conaffinity="2"/>'
        + finger.format("left", "", 1)
        + finger.format("right", "-", 2)
        + "</body>" * 8
        + '</worldbody><equality><joint joint1="finger_joint1" joint2="finger_joint2"/></equality>'
        f"<actuator>{motors}</actuator></mujoco>"
    )
