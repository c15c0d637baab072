"""The MuJoCo models this project ships: a planar swimmer of n links, written as MJCF text and compiled.

`gym_swimmer(3)` compiles to the same physics as Gymnasium's `swimmer.xml`, `rllab_swimmer(3)` to rllab's. More links
continue the chain with further copies of the last link, each with its own motor and the same joint range.
"""

import mujoco

MIN_LINKS, MAX_LINKS = 3, 20
JOINT_RANGE = 100  # degrees to either side of straight
LINK_LENGTH, LINK_RADIUS, LINK_DENSITY = 1.0, 0.1, 1000  # m, m, kg/m^3
FLUID_DENSITY, FLUID_VISCOSITY = 4000, 0.1  # kg/m^3, Pa s

_MJCF = """
<mujoco model="swimmer">
  <compiler angle="degree" inertiafromgeom="true"/>
  <option integrator="{integrator}" timestep="{timestep}" density="{density}" viscosity="{viscosity}"/>
  <default>
    <geom contype="0" conaffinity="0" condim="1" material="link"/>
    <joint armature="{armature}"/>
    <motor ctrllimited="true" ctrlrange="-{control} {control}" gear="{gear}"/>
  </default>
  <visual>
    <global offwidth="1280" offheight="720"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".75 .85 .95" rgb2="1 1 1" width="64" height="64"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1=".30 .47 .60" rgb2=".34 .52 .66" width="128" height="128"/>
    <material name="water" texture="tiles" texrepeat="40 40" reflectance=".1"/>
    <material name="link" rgba=".95 .65 .25 1" specular=".3"/>
  </asset>
  <worldbody>
    <light directional="true" diffuse=".9 .9 .9" dir=".2 .3 -1" pos="0 0 5"/>
    <geom name="floor" type="plane" pos="0 0 -.1" size="40 40 .1" condim="3" material="water"/>
    <body name="torso">
      <camera name="track" mode="trackcom" pos="0 -{distance} {distance}" xyaxes="1 0 0 0 1 1"/>
      <camera name="above" mode="trackcom" pos="0 0 {height}" xyaxes="1 0 0 0 1 0"/>
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="heading" type="hinge" axis="0 0 1"/>
      <geom name="torso" type="capsule" fromto="1.5 0 0 .5 0 0" size="{radius}" density="{body_density}"/>
{tail}
    </body>
  </worldbody>
  <actuator>
{motors}
  </actuator>
</mujoco>
"""


def swimmer_mjcf(links: int, *, integrator: str, timestep: float, armature: float, gear: float, control: float) -> str:
    """MJCF of a chain of `links` links; `timestep` in s, `armature` on every joint, `control` the actuators' range."""
    if not MIN_LINKS <= links <= MAX_LINKS:
        raise ValueError(f"env.links: {links} is not one of {MIN_LINKS} to {MAX_LINKS}")
    tail = ""
    for i in reversed(range(1, links)):  # from the tip inwards, each link wraps the ones behind it
        start = 0.5 if i == 1 else -LINK_LENGTH
        tail = (
            f'<body name="link{i}" pos="{start} 0 0">'
            f'<joint name="hinge{i}" type="hinge" axis="0 0 1" limited="true" range="-{JOINT_RANGE} {JOINT_RANGE}"/>'
            f'<geom name="link{i}" type="capsule" fromto="0 0 0 {-LINK_LENGTH} 0 0" size="{LINK_RADIUS}"'
            f' density="{LINK_DENSITY}"/>{tail}</body>'
        )
    return _MJCF.format(
        integrator=integrator,
        timestep=timestep,
        density=FLUID_DENSITY,
        viscosity=FLUID_VISCOSITY,
        armature=armature,
        control=control,
        gear=gear,
        radius=LINK_RADIUS,
        body_density=LINK_DENSITY,
        distance=links,
        height=2 * links,
        tail=tail,
        motors="\n".join(f'    <motor name="hinge{i}" joint="hinge{i}"/>' for i in range(1, links)),
    )


def gym_swimmer(links: int = 3) -> mujoco.MjModel:
    """Gymnasium's Swimmer (RK4, 10 ms, armature 0.1, gear 150, control +-1)."""
    mjcf = swimmer_mjcf(links, integrator="RK4", timestep=0.01, armature=0.1, gear=150, control=1)
    return mujoco.MjModel.from_xml_string(mjcf)


def rllab_swimmer(links: int = 3) -> mujoco.MjModel:
    """rllab's Swimmer (Euler, 1 ms, no armature, gear 1, control +-50)."""
    mjcf = swimmer_mjcf(links, integrator="Euler", timestep=0.001, armature=0, gear=1, control=50)
    return mujoco.MjModel.from_xml_string(mjcf)
