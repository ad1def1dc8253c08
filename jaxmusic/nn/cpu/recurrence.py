"""The recurrence `cpu`: a kernel in C++, compiled for this machine when first used."""

from jaxmusic.nn.cpu.build import SOURCES, why_unavailable
from jaxmusic.nn.cpu.kernel import backward, forward, inference
from jaxmusic.nn.recurrence import Recurrence, Workload

# For fewer, packing the weights costs more than it saves.
FEWEST_ROWS = 8
FEWEST_ROWS_AND_STEPS = 256


def _why_not(work: Workload) -> str | None:
    if work.platform != "cpu":
        return f"the devices here are of the kind {work.platform}"
    return why_unavailable() if work.float32 else "it computes in float32 alone"


def _pays(work: Workload) -> bool:
    enough = work.rows >= FEWEST_ROWS and work.steps * work.rows >= FEWEST_ROWS_AND_STEPS
    return work.platform == "cpu" and work.float32 and enough


CPU = Recurrence(
    name="cpu",
    why_not=_why_not,
    pays=_pays,
    forward=forward,
    backward=backward,
    sources=("nn/cpu/kernel.py", *(f"nn/cpu/{name}" for name in SOURCES)),
    inference=inference,
)
