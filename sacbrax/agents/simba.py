"""SimBa's network (arXiv:2410.09754): residual blocks with layer norm, between two linear layers.

    x_0 = W x,    x_i+1 = x_i + W2 relu(W1 LN(x_i)),    y = W' LN(x_n)

W1 makes a block four times as wide inside. The paper's running statistics of the observation are
`network.normalize_observations` here, its relu is `network.activation`.
"""

from collections.abc import Callable

import flax.linen as nn

from sacbrax.agents import weight_norm
from sacbrax.core.types import Array

INSIDE = 4  # times the width


class SimBa(nn.Module):
    """[..., I] -> [..., output_size], of `blocks` blocks; see `networks.MLP` for the fields of the same name."""

    width: int
    blocks: int
    output_size: int
    activation: Callable[[Array], Array]
    weight_norm: bool = False
    dtype: str = "float32"
    precision: str | None = None
    inputs: int | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.inputs is not None:
            x = x[..., : self.inputs]
        dtype = None if self.dtype == "float32" else self.dtype

        def dense(size: int, initializer: nn.initializers.Initializer) -> nn.Module:
            layer = weight_norm.Dense if self.weight_norm else nn.Dense
            return layer(size, dtype=dtype, precision=self.precision, kernel_init=initializer)

        x = dense(self.width, nn.initializers.orthogonal())(x)
        for _ in range(self.blocks):
            inside = nn.LayerNorm(dtype=dtype)(x)
            inside = self.activation(dense(INSIDE * self.width, nn.initializers.he_normal())(inside))
            x = x + dense(self.width, nn.initializers.he_normal())(inside)
        x = nn.LayerNorm(dtype=dtype)(x)
        return nn.Dense(self.output_size, precision=self.precision, kernel_init=nn.initializers.orthogonal())(x)
