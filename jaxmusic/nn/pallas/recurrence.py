"""The recurrence `pallas`: a kernel for TPUs. Pallas, slow to import, is imported at first use."""

from typing import Any

import jax

from jaxmusic.config import Precision
from jaxmusic.nn.cell import Carry, Layer
from jaxmusic.nn.recurrence import Recurrence


def _forward(precision: Precision, layer: Layer) -> tuple[jax.Array, Carry, Any]:
    from jaxmusic.nn.pallas.layer import forward  # noqa: PLC0415 (see above)

    return forward(precision, layer)


def _backward(
    precision: Precision,
    layer: Layer,
    h_TxBxH: jax.Array,
    residuals: Any,
    dh_TxBxH: jax.Array | None,
    d_after: Carry,
) -> Layer:
    from jaxmusic.nn.pallas.layer import backward  # noqa: PLC0415 (see above)

    return backward(precision, layer, h_TxBxH, residuals, dh_TxBxH, d_after)


PALLAS = Recurrence(
    name="pallas",
    # Weights that don't fit into a TPU's VMEM are refused by `forward`, with a PallasError.
    why_not=lambda work: None,
    pays=lambda work: False,  # not measured on a TPU
    forward=_forward,
    backward=_backward,
    sources=("nn/pallas/layer.py", "nn/pallas/kernel.py", "nn/scan.py"),
)
