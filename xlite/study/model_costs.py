"""Before the search, while the device is quiet: what each model of the space costs, and whether it can be built."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xlite.config import ModelConfig
from xlite.console import ProgressCallback
from xlite.cores import available_cpus
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device, device_kind
from xlite.errors import InputError
from xlite.models.build import build_model, check_input
from xlite.models.cost import architecture, count_cost
from xlite.models.latency import measure_latencies
from xlite.models.limits import Cost, Limits

MAX_TOGETHER_MB = 512.0
"""Weights of the models that are in memory at once, to be timed in turn."""


def latency_target(given: str | None, device: Device, threads: int) -> tuple[Device, int]:
    """Where models are timed, and with how many threads.

    Args:
        given: "cpu", "cpu:4" with its threads, or "cuda"; None: `device`.
        threads: where `given` does not say.

    Raises:
        InputError: this machine has no such device, or fewer cores.
    """
    kind, _, count = (given or device.torch_device.type).partition(":")
    if kind == "cuda" and device_kind() != "cuda":
        raise InputError(f"--latency-device {given}: this machine has no GPU; choose cpu or cpu:THREADS")
    if count and int(count) > available_cpus():
        raise InputError(f"--latency-device {given}: this machine has {available_cpus()} cores to use")
    return (choose_device(kind=kind) if given else device), int(count or threads)


@dataclass(frozen=True)
class ModelCosts:
    """Costs by architecture; a trial's cost is looked up, since timing it among running trials would be wrong."""

    costs: dict[str, Cost]
    num_labels: int
    input_spec: InputSpec

    def of(self, model: ModelConfig) -> Cost:
        """A student's cost; an architecture that was not measured beforehand is counted but not timed."""
        key = architecture(model).model_dump_json()
        if key not in self.costs:
            self.costs[key] = count_cost(model, self.num_labels, self.input_spec.channels, self.input_spec.image_size)
        return self.costs[key]

    def set(self, model: ModelConfig, cost: Cost) -> None:
        """Use this cost for a student from now on."""
        self.costs[architecture(model).model_dump_json()] = cost


def measure_costs(
    models: Sequence[ModelConfig],
    dataset: Dataset,
    *,
    device: Device,
    threads: int,
    limits: Limits,
    progress: ProgressCallback | None = None,
) -> ModelCosts:
    """Build and time every architecture of the space once, at batch 1 on `device`, on a CPU with `threads`.

    Raises:
        InputError: an unknown backbone, or no model within the limits.
    """
    num_labels, spec = len(dataset.labels), dataset.input_spec
    for model in models:
        check_input(model, spec)
    plain = {each.model_dump_json(): each for each in map(architecture, models)}
    costs = {key: count_cost(each, num_labels, spec.channels, spec.image_size) for key, each in plain.items()}
    timed = [key for key in plain if limits.broken_by(costs[key]) is None]  # what is too large already is not
    example, done = device.inputs(spec, *spec.example()), len(plain) - len(timed)
    for group in _groups(timed, costs):
        built = [
            build_model(
                plain[key], num_labels=num_labels, in_channels=spec.channels, image_size=spec.image_size, seed=0
            )
            for key in group
        ]
        moved = [device.move(each) for each in built]
        latencies = measure_latencies(moved, example, device=device.torch_device, threads=threads)
        costs |= {key: replace(costs[key], **vars(latency)) for key, latency in zip(group, latencies, strict=True)}
        done += len(group)
        if progress:
            progress(done, len(models))
    broken = {key: reason for key, cost in costs.items() if (reason := limits.broken_by(cost))}
    if broken and len(broken) == len(costs):
        smallest = min(costs, key=lambda key: costs[key].num_params)
        raise InputError(
            "no student of the space is within the limits; the smallest is "
            f"{plain[smallest].backbone} ({broken[smallest]})"
        )
    return ModelCosts(costs, num_labels, spec)


def _groups(keys: Sequence[str], costs: Mapping[str, Cost]) -> Iterator[list[str]]:
    """Models in groups whose weights together are not too large; a larger model is one by itself."""
    group: list[str] = []
    for key in keys:
        if group and sum(costs[each].size_mb for each in (*group, key)) > MAX_TOGETHER_MB:
            yield group
            group = []
        group.append(key)
    if group:
        yield group
