"""A student's cost and its limits; imports no PyTorch, since the ledger and the report read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one student costs.

    Attributes:
        num_params: trainable parameters.
        size_mb: bytes of the .safetensors file / 1e6.
        latency_ms, latency_spread_ms, reference_ms, latency_median_ms, latency_p95_ms: as in `Latency`; None where it
            was not timed, or by an earlier version, which did not keep all of them.
    """

    num_params: int
    size_mb: float
    latency_ms: float | None = None
    latency_spread_ms: float | None = None
    reference_ms: float | None = None
    latency_median_ms: float | None = None
    latency_p95_ms: float | None = None


@dataclass(frozen=True)
class Limits:
    """The most that a student may cost; None: no limit. A latency breaks its limit only beyond its spread."""

    max_params: int | None = None
    max_mb: float | None = None
    max_latency_ms: float | None = None

    def broken_by(self, cost: Cost) -> str | None:
        """The first limit that this cost exceeds, in words, or None."""
        if self.max_params is not None and cost.num_params > self.max_params:
            return f"{cost.num_params / 1e6:.2f}M parameters > --max-params {self.max_params / 1e6:g}M"
        if self.max_mb is not None and cost.size_mb > self.max_mb:
            return f"{cost.size_mb:.1f} MB > --max-mb {self.max_mb:g}"
        if self.max_latency_ms is not None and cost.latency_ms is not None:
            spread_ms = cost.latency_spread_ms or 0.0
            if cost.latency_ms - spread_ms > self.max_latency_ms:
                return f"{cost.latency_ms:.1f} ms (± {spread_ms:.1f}) > --max-latency-ms {self.max_latency_ms:g}"
        return None

    def undecided_by(self, cost: Cost) -> bool:
        """Whether the latency limit lies within the spread of this latency; such a student is tried."""
        if self.max_latency_ms is None or cost.latency_ms is None or self.broken_by(cost) is not None:
            return False
        return abs(cost.latency_ms - self.max_latency_ms) <= (cost.latency_spread_ms or 0.0)
