"""The same network in PyTorch: nn.LSTM, which has no recurrent dropout."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jaxmusic.benchmarks.harness.matrix_product import best_seconds
from jaxmusic.benchmarks.harness.weights import Weights, load_weights
from jaxmusic.benchmarks.workload import Workload


class Network(nn.Module):  # type: ignore[misc]
    """The stack, from token ids to logits (rows, vocabulary), a row for each target."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        config = workload.model
        self.vocabulary_size = workload.vocabulary_size
        self.every = config.objective == "every"
        self.embedding = (
            nn.Embedding(workload.vocabulary_size, config.embedding_size)
            if config.input == "embedding"
            else None
        )
        features = 1 if self.embedding is None else config.embedding_size
        self.lstm = nn.LSTM(features, config.hidden_size, config.layers, batch_first=True)
        self.norm_lstm = nn.BatchNorm1d(config.hidden_size, eps=1e-3, momentum=0.01)
        self.dense = nn.Linear(config.hidden_size, config.dense_size)
        self.norm_dense = nn.BatchNorm1d(config.dense_size, eps=1e-3, momentum=0.01)
        self.output = nn.Linear(config.dense_size, workload.vocabulary_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits for ids (batch, window)."""
        if self.embedding is None:
            x = (ids.to(torch.float32) / self.vocabulary_size)[..., None]
        else:
            x = self.embedding(ids)
        x, _ = self.lstm(x.to(self.lstm.weight_ih_l0.dtype))
        x = x.flatten(0, 1) if self.every else x[:, -1]
        x = self.dropout(self.norm_lstm(x))
        x = self.dropout(self.norm_dense(torch.relu(self.dense(x))))
        logits: torch.Tensor = self.output(x)
        return logits.float()


class Baseline:
    """Eager (nn.LSTM is compiled code itself), f32, under autocast, or with bfloat16 weights."""

    def __init__(self, workload: Workload, weights: Path, variant: str) -> None:
        cuda = torch.cuda.is_available()
        if not cuda and torch.version.cuda is not None:
            raise RuntimeError(
                f"torch {torch.__version__} is the CUDA build on a machine without a GPU: "
                "install the CPU build (--index-url https://download.pytorch.org/whl/cpu)"
            )
        tf32 = workload.train.precision == "tf32"  # f32 means f32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        self.workload = workload
        self.variant = variant
        self.weights = load_weights(weights)
        self.device = torch.device("cuda" if cuda else "cpu")
        self.sampler = workload.sampler()
        self.network, self.optimizer = self._new(workload)
        self.step = 0

    def check_losses(self) -> list[float]:
        """The loss of the first batch with all dropout off. (RMSprop's epsilon is elsewhere.)"""
        network, optimizer = self._new(self.workload.without_dropout())
        return [float(self._step(network, optimizer, *self.sampler.batch(0)[:2]))]

    def run(self, steps: int) -> None:
        """Train on."""
        for batch in self.workload.full_batches(self.sampler, self.step, steps):
            self._step(self.network, self.optimizer, batch.inputs, batch.targets)
        self.step += steps
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def report(self) -> dict[str, Any]:
        """What else was measured."""
        cuda = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if cuda else None
        return {"recurrent_masks": 0, "device_peak_bytes": peak}

    def product_rate(self, size: int, repeats: int) -> float:
        """FLOP/s of the best of some large matrix products, in the workload's precision."""
        dtype = torch.bfloat16 if self.workload.train.precision == "bf16" else torch.float32
        lhs = torch.ones(size, size, dtype=dtype, device=self.device)

        def run() -> None:
            product = lhs @ lhs
            product[0, 0].item()  # waits

        return 2 * size**3 / best_seconds(run, repeats)

    def _step(
        self, network: Network, optimizer: Any, inputs: np.ndarray, targets: np.ndarray
    ) -> torch.Tensor:
        ids = torch.from_numpy(inputs.astype(np.int64)).to(self.device)
        wanted = torch.from_numpy(targets.astype(np.int64)).flatten().to(self.device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.variant == "autocast"):
            loss = nn.functional.cross_entropy(network(ids), wanted)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _new(self, workload: Workload) -> tuple[Network, Any]:
        network = Network(workload)
        set_weights(network, self.weights)
        if self.variant == "bf16 weights":
            network.bfloat16()
        network.to(self.device).train()
        rate = workload.train.learning_rate
        return network, torch.optim.RMSprop(network.parameters(), rate, alpha=0.9, eps=1e-7)


def set_weights(network: Network, weights: Weights) -> None:
    """Copy jaxmusic's weights: matrices are transposed, and the second bias is 0."""

    def give(parameter: Any, array: np.ndarray) -> None:
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    with torch.no_grad():
        if network.embedding is not None:
            give(network.embedding.weight, weights["embedding"]["embedding"])
        for number, ours in weights["lstm"].items():
            # Gates lie in the same order: what is called c here is called g there.
            give(getattr(network.lstm, f"weight_ih_l{number}"), ours["kernel"].T)
            give(getattr(network.lstm, f"weight_hh_l{number}"), ours["recurrent_kernel"].T)
            give(getattr(network.lstm, f"bias_ih_l{number}"), ours["bias"])
            give(getattr(network.lstm, f"bias_hh_l{number}"), 0 * ours["bias"])
        for name in ("norm_lstm", "norm_dense"):
            give(getattr(network, name).weight, weights[name]["scale"])
            give(getattr(network, name).bias, weights[name]["bias"])
        for name in ("dense", "output"):
            give(getattr(network, name).weight, weights[name]["kernel"].T)
            give(getattr(network, name).bias, weights[name]["bias"])


def build(arguments: dict[str, Any]) -> Baseline:
    """Build the program of a request."""
    return Baseline(
        Workload.from_json(arguments["workload"]), Path(arguments["weights"]), arguments["variant"]
    )
