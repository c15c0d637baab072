# python -m sacbrax.export swimmer --out policy.onnx && python examples/gymnasium_onnx.py policy.onnx
import sys

import gymnasium
import onnxruntime

policy, env = onnxruntime.InferenceSession(sys.argv[1]), gymnasium.make("Swimmer-v5")
(observation, _), total, done = env.reset(seed=0), 0.0, False
while not done:
    action = policy.run(None, {"observation": observation[None].astype("float32")})[0][0]
    observation, reward, terminated, truncated, _ = env.step(action)
    total, done = total + reward, terminated or truncated
print(f"return {total:.1f}")
