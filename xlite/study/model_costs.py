"""Before the search, while the device is quiet: what each model of the space costs, and whether it can be built."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xlite.config import ModelConfig, RunConfig
from xlite.console import ProgressCallback
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.errors import InputError
from xlite.models.backbones import check_weights
from xlite.models.build import build_model, check_input
from xlite.models.cost import architecture, count_cost, measure_latency
from xlite.models.limits import Cost, Limits


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


def measure_costs(
    models: Sequence[ModelConfig],
    base: RunConfig,
    dataset: Dataset,
    *,
    device: Device,
    limits: Limits,
    progress: ProgressCallback | None = None,
) -> ModelCosts:
    """Build and time every architecture of the space once, at batch 1 and the threads of a trial.

    Raises:
        InputError: an unknown backbone, pretrained weights that cannot be had, or no model within the limits.
    """
    check_weights(models)
    costs: dict[str, Cost] = {}
    num_labels, spec = len(dataset.labels), dataset.input_spec
    example = device.inputs(spec, *spec.example())
    smallest: tuple[Cost, str] | None = None
    fits = False
    for done, model in enumerate(models, start=1):
        check_input(model, spec)
        cost, plain = count_cost(model, num_labels, spec.channels, spec.image_size), architecture(model)
        if limits.broken_by(cost) is None:  # what is too large already is not timed
            built = build_model(
                plain, num_labels=num_labels, in_channels=spec.channels, image_size=spec.image_size, seed=0
            )
            latency = measure_latency(
                device.move(built), example, device=device.torch_device, threads=base.train.threads
            )
            cost = replace(cost, latency_ms=latency)
        broken = limits.broken_by(cost)
        fits = fits or broken is None
        if smallest is None or cost.num_params < smallest[0].num_params:
            smallest = (cost, f"{model.backbone} ({broken})")
        costs[plain.model_dump_json()] = cost
        if progress:
            progress(done, len(models))
    if not fits and smallest is not None:
        raise InputError(f"no student of the space is within the limits; the smallest is {smallest[1]}")
    return ModelCosts(costs, num_labels, spec)
