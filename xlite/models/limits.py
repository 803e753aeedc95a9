"""A student's cost and its limits; imports no PyTorch, since the ledger and the report read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """num_params: trainable parameters; size_mb: bytes of the .safetensors file / 1e6; latency_ms: None = not timed."""

    num_params: int
    size_mb: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Limits:
    """The most that a student may cost; None: no limit."""

    max_params: int | None = None
    max_mb: float | None = None
    max_latency_ms: float | None = None

    def broken_by(self, cost: Cost) -> str | None:
        """The first limit that this cost exceeds, in words, or None."""
        if self.max_params is not None and cost.num_params > self.max_params:
            return f"{cost.num_params / 1e6:.2f}M parameters > --max-params {self.max_params / 1e6:g}M"
        if self.max_mb is not None and cost.size_mb > self.max_mb:
            return f"{cost.size_mb:.1f} MB > --max-mb {self.max_mb:g}"
        if self.max_latency_ms is not None and cost.latency_ms is not None and cost.latency_ms > self.max_latency_ms:
            return f"{cost.latency_ms:.1f} ms > --max-latency-ms {self.max_latency_ms:g}"
        return None
