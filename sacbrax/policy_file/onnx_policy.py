"""A policy file as an ONNX model: observation [N, O] -> action [N, A], with normalizer, squashing and gain inside.

The graph is `numpy_policy`'s arithmetic, node by node. Knows no JAX.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sacbrax.policy_file.numpy_network import Shape
from sacbrax.policy_file.numpy_policy import LIMIT, NumpyPolicy, shapes, spread_latents, support
from sacbrax.policy_file.numpy_support import Support

OPSET = 18  # onnxruntime 1.14 and later
IR_VERSION = 8  # of the same time


class _Graph:
    """Nodes and constants under way to a model. A value is its name; calling makes a node and names its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operation: str, *inputs: Any, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, names, [output], **attributes))
        return output

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32).reshape(array.shape)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def clip(self, x: str, low: float, high: float) -> str:
        return self("Clip", x, np.float32(low), np.float32(high))

    def columns(self, x: str, start: int, stop: int) -> str:
        return self("Slice", x, np.array([start]), np.array([stop]), np.array([1]))


def build(policy: NumpyPolicy, about: Mapping[str, Any] = MappingProxyType({})) -> onnx.ModelProto:
    """The deterministic policy of a file; `about` goes into the metadata, each value as JSON."""
    graph, header, arrays = _Graph(), policy.header, policy.arrays
    options, networks = policy.options, shapes(header, arrays)
    x, size = "observation", policy.input_size
    if header["normalize_observations"]:
        centred = graph("Sub", x, arrays["observation_mean"][:size])
        x = graph.clip(graph("Mul", centred, arrays["observation_scale"][:size]), -LIMIT, LIMIT)
    actions = [graph("Tanh", u) if options["squash"] else u for u in _candidates(graph, policy, networks, x)]
    action = actions[0] if len(actions) == 1 else _best(graph, policy, networks["critic"], x, actions)
    gain = options.get("action_gain", 1.0)
    if gain != 1.0:  # of an action that the environment has clipped
        action = graph("Mul", action if options["squash"] else graph.clip(action, -1.0, 1.0), np.float32(gain))
    graph.nodes.append(helper.make_node("Clip", [action, *map(graph._constant, (-1.0, 1.0))], ["action"]))

    def signature(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    body = helper.make_graph(
        graph.nodes,
        "policy",
        [signature("observation", size)],
        [signature("action", policy.action_size)],
        graph.constants,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="sacbrax"
    )
    metadata = {"header": header, **about}
    helper.set_model_props(model, {name: _json(value) for name, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _candidates(graph: _Graph, policy: NumpyPolicy, networks: dict[str, Shape], x: str) -> list[str]:
    """The values of u among which Q chooses, [N, A] each."""
    size, options = policy.action_size, policy.options
    seen = networks["actor"].inputs
    output = _network(graph, policy, networks["actor"], x if seen == policy.input_size else graph.columns(x, 0, seen))
    if options["kind"] == "latent":
        latents = spread_latents(options["candidates"], size)
        return [_flow(graph, policy, networks, output, latent) for latent in latents]
    logits, count = (options["components"],) * 2 if options["kind"] == "gmm" else (0, 1)  # which come before the means
    return [graph.columns(output, logits + i * size, logits + (i + 1) * size) for i in range(count)]


def _flow(graph: _Graph, policy: NumpyPolicy, networks: dict[str, Shape], features: str, latent: np.ndarray) -> str:
    """The latent-space policy's u = f(h; s) for one h."""
    size, options = policy.action_size, policy.options
    # One row for each observation: the features' first column times 0, plus h.
    u = graph("Add", graph("Mul", graph.columns(features, 0, 1), np.float32(0.0)), latent[None])
    for i in range(options["coupling_layers"]):
        kept = ((i + np.arange(size)) % 2).astype(np.float32)
        both = graph("Concat", graph("Mul", u, kept), features, axis=1)
        output = _network(graph, policy, networks[f"coupling_{i}"], both)
        log_scale = graph.clip(
            graph.columns(output, size, 2 * size), options["log_sigma_min"], options["log_sigma_max"]
        )
        grown = graph("Mul", u, graph("Exp", graph("Mul", log_scale, 1.0 - kept)))
        u = graph("Add", grown, graph("Mul", graph.columns(output, 0, size), 1.0 - kept))
    return u


def _best(graph: _Graph, policy: NumpyPolicy, critic: Shape, x: str, actions: list[str]) -> str:
    """Of the candidates [N, A] the one whose smallest Q is the largest."""
    values, possible = [], support(policy.header)
    for action in actions:
        both = graph("Concat", x, action, axis=1)
        outputs = [_network(graph, policy, critic, both, member) for member in range(critic.members or 1)]
        values.append(graph("Min", *[_value(graph, possible, output) for output in outputs]))
    best = graph("ArgMax", graph("Concat", *values, axis=1), axis=1, keepdims=1)  # [N, 1]
    stacked = graph("Concat", *[graph("Unsqueeze", action, np.array([1])) for action in actions], axis=1)
    return graph("GatherND", stacked, best, batch_dims=1)


def _value(graph: _Graph, possible: Support | None, output: str) -> str:
    """Of a critic's output [N, K], [N, 1]."""
    if possible is None:
        return output
    logits = output if possible.prior_logits is None else graph("Add", output, possible.prior_logits)
    return graph("MatMul", graph("Softmax", logits, axis=1), possible.atoms[:, None])


def _network(graph: _Graph, policy: NumpyPolicy, shape: Shape, x: str, member: int | None = None) -> str:
    """A network, [N, I] -> [N, J]; of an ensemble one member."""
    kept = x
    for what, found in shape.program(policy.arrays):
        operands = found if member is None else [array[member] for array in found]
        if what == "dense":
            x = graph("Gemm", x, *operands)
        elif what == "norm":
            x = graph("LayerNormalization", x, *operands, axis=-1, epsilon=1e-6)
        elif what == "affine":
            x = graph("Add", graph("Mul", x, operands[0]), operands[1])
        elif what == "activate":
            x = _activate(graph, policy.header["activation"], x)
        elif what == "keep":
            kept = x
        else:
            x = graph("Add", kept, x)
    return x


def _activate(graph: _Graph, name: str, x: str) -> str:
    if name == "silu":
        return graph("Mul", x, graph("Sigmoid", x))
    if name == "gelu":  # the tanh form, as flax computes it
        cubic = graph("Mul", graph("Mul", x, graph("Mul", x, x)), np.float32(0.044715))
        inner = graph("Mul", graph("Add", x, cubic), np.float32(np.sqrt(2.0 / np.pi)))
        return graph("Mul", graph("Mul", x, np.float32(0.5)), graph("Add", graph("Tanh", inner), np.float32(1.0)))
    return graph({"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}[name], x)


def _json(value: Any) -> str:
    """What every reader of JSON takes: an infinite number, of which it has none, as the text `Infinity`."""
    return json.dumps(json.loads(json.dumps(value), parse_constant=str), allow_nan=False)
