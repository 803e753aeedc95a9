"""The optimiser step: forward, loss, backward, clip, update; plainly, or recorded once as a CUDA graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.models.build import build_model, call, check_input
from xlite.models.matmul_convolutions import use_matmul_convolutions
from xlite.tasks.target_spec import Objective
from xlite.tasks.task import Task
from xlite.train.batch_loader import Batch
from xlite.train.flat_parameters import FlatParameters, clip_gradients

CHECK_EVERY = 50
"""Steps between looks at whether losses were finite, on a GPU: each look waits for the device."""
_WARM_UP_STEPS = 3  # before a capture, as torch's notes on CUDA graphs have it


class TrainingFailed(RuntimeError):
    """This configuration cannot be trained, e.g. its loss is no longer finite; the message is the reason."""


@dataclass(frozen=True)
class StepOutput:
    """What a step gave, on the device: the parts of the loss (P,), the gradient's norm, the logits (B, ..., L)."""

    parts: Tensor
    norm: Tensor
    logits: Tensor


class Learner:
    """Model, objective and optimiser of one run."""

    def __init__(self, config: RunConfig, task: Task, dataset: Dataset, device: Device) -> None:
        self.config, self.device = config, device
        self.model = new_model(config, task, dataset, device)
        use_matmul_convolutions(self.model)
        self.objective: Objective = task.target_spec.objective(config, dataset.targets[dataset.part("train")])
        rate = config.optim.learning_rate
        grouped = _parameter_groups(self.model, config.optim.weight_decay)
        self.groups = [FlatParameters(parameters) for parameters, _ in grouped]
        self.optimizer = torch.optim.AdamW(
            [{"params": [g.value], "weight_decay": d} for g, (_, d) in zip(self.groups, grouped, strict=True)],
            lr=torch.tensor(rate, device=device.torch_device)
            if device.on_gpu
            else rate,  # a number would freeze in a graph
            fused=True,
            capturable=device.on_gpu,
        )
        self.part_names: list[str] = []

    def prepare(self, *, frozen: bool, rate: float) -> None:
        """Training mode; hold the backbone's weights and running statistics still, or let them go again."""
        self.model.train()
        backbone = getattr(self.model, "backbone", None)
        if backbone is not None and self.config.optim.freeze_epochs:
            backbone.requires_grad_(not frozen)
            backbone.train(not frozen)
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, batch: Batch) -> StepOutput:
        """One optimiser step, all of it on the device; a loss or gradient that is not finite changes nothing."""
        if self.config.train.micro_batches == 1:
            logits = self.forward(batch)
            values, loss = self.evaluate(logits, batch)
            loss.backward()
        else:
            values, logits = self.backward_in_parts(batch)
        for group in self.groups:
            group.take_gradients()
        norm = clip_gradients(self.groups, self.config.optim.clip_norm)
        finite = torch.isfinite(values[0]) & torch.isfinite(norm)
        self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # the fused step is left out then
        self.optimizer.step()
        return StepOutput(values, norm, logits.detach())

    def forward(self, batch: Batch) -> Tensor:
        """Logits of a batch, float32."""
        with self.device.autocast():
            logits = call(self.model, batch.images, batch.auxiliary)
        return logits.float()

    def evaluate(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The values of the loss's parts, and the loss."""
        parts = self.objective(logits, batch.targets, batch.teacher_logits)
        self.part_names = list(parts)
        return torch.stack([part.detach() for part in parts.values()]).float(), parts["loss"]

    def backward_in_parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's own gradient in the memory of a part of it: values of the loss's parts, and logits.

        All logits first, without a graph; then the loss's gradient at them; then that through one part after the other
        (gradient caching, Gao et al., arXiv 2101.06983). So it is exact however a loss averages over unknown labels
        and class weights, for one more forward pass. Batch normalisation alone sees the parts.
        """
        parts = list(batch.micro_batches(self.config.train.micro_batches))
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        random_states = []
        cached = []
        with torch.no_grad():
            for part in parts:
                random_states.append(self.device.random_state())
                cached.append(self.forward(part))
            for name, value in self.model.named_buffers():
                value.copy_(buffers[name])  # running statistics are to move once
        logits = torch.cat(cached).requires_grad_()
        values, loss = self.evaluate(logits, batch)
        (slope,) = torch.autograd.grad(loss, logits)
        for part, state, part_slope in zip(parts, random_states, slope.split([len(c) for c in cached]), strict=True):
            self.device.set_random_state(state)  # the same dropout as the first time
            self.forward(part).backward(part_slope)
        return values, logits

    def tensors(self) -> dict[str, Tensor]:
        """The model's and the optimiser's state as they are, not copied: they change with the next step."""
        out = dict(self.model_tensors)
        for number, group in enumerate(self.groups):
            state = self.optimizer.state.get(group.value, {})  # none as long as the group was never trained
            out |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        return out

    @cached_property
    def model_tensors(self) -> dict[str, Tensor]:
        """The model's state; training, `restore` and graphs change it in place, so looking it up once is enough."""
        return {f"model.{name}": value.detach() for name, value in self.model.state_dict().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave.

        Raises:
            RuntimeError, KeyError: they belong to another model.
        """
        prefix = "model."
        self.model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            section, _, rest = key.partition(".")
            if section == "optimizer":
                number, _, name = rest.partition(".")
                state.setdefault(int(number), {})[name] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


class GraphStep:
    """`Learner.step` on fixed buffers, recorded once and replayed: a small student is not held up by launches.

    On a CPU the same buffers are used and the step is run as it is. See "CUDA graphs" in PyTorch's notes.

    Args:
        example: a batch of the one size that will come.
    """

    def __init__(self, learner: Learner, example: Batch) -> None:
        self.learner = learner
        self.batch = replace(example, **{name: t.clone() for name, t in vars(example).items() if t is not None})
        self.graph: torch.cuda.CUDAGraph | None = None
        self.out: StepOutput | None = None
        if learner.device.on_gpu:
            self._record()

    def step(self, batch: Batch) -> StepOutput:
        """As `Learner.step`; what it returns is overwritten by the next call."""
        for mine, new in zip(self.batch.tensors(), batch.tensors(), strict=True):
            mine.copy_(new, non_blocking=True)
        if self.graph is None:
            return self.learner.step(self.batch)
        self.graph.replay()
        assert self.out is not None
        return StepOutput(self.out.parts.clone(), self.out.norm.clone(), self.out.logits.clone())

    def _record(self) -> None:
        """Warm up on a side stream and record; weights, optimiser and random state are as before afterwards."""
        learner, place = self.learner, self.learner.device.torch_device
        before = {name: value.clone() for name, value in learner.tensors().items()}
        random_state = torch.cuda.get_rng_state(place)
        side = torch.cuda.Stream(place)
        side.wait_stream(torch.cuda.current_stream(place))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                learner.step(self.batch)
        torch.cuda.current_stream(place).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        try:
            # of this thread's calls alone: the loader's thread keeps pinning memory, which would end a capture of all
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.out = learner.step(self.batch)
        except RuntimeError as error:
            cause = error.__context__ or error  # the end of a capture that broke off raises, too
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            if "captur" not in str(error):
                raise
            reason = str(cause).splitlines()[0]
            raise TrainingFailed(f"this step cannot be recorded ({reason}); use train.step=plain") from cause
        for name, value in learner.tensors().items():  # in place: the graph holds these addresses
            value.copy_(before[name]) if name in before else value.zero_()
        torch.cuda.set_rng_state(random_state, place)


def check_finite(parts: Tensor, norms: Tensor, *, epoch: int, first_step: int, rate: float) -> None:
    """Look at steps `first_step`, ... (1-based) of an epoch (1-based): parts (S, P), the loss first; norms (S,).

    Raises:
        TrainingFailed: names the first step whose loss or gradient is not finite.
    """
    for step, (loss, norm) in enumerate(zip(parts[:, 0].tolist(), norms.tolist(), strict=True), start=first_step):
        if not math.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss} at epoch {epoch}, step {step} (learning rate {rate:.2g})")
        if not math.isfinite(norm):
            raise TrainingFailed(
                f"the gradient's norm is {norm} at epoch {epoch}, step {step} (learning rate {rate:.2g})"
            )


def new_model(config: RunConfig, task: Task, dataset: Dataset, device: Device) -> nn.Module:
    """The untrained model of a configuration, on the device."""
    check_input(config.model, dataset.input_spec)
    model = build_model(
        config.model,
        num_labels=len(dataset.labels),
        in_channels=dataset.input_spec.channels,
        image_size=dataset.input_spec.image_size,
        bias=task.target_spec.initial_bias(dataset.targets[dataset.part("train")]),
        seed=config.train.seed,
    )
    return device.move(model)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters that are trained alike, with their weight decay.

    Matrices and kernels decay; biases and norms would be pulled to zero for nothing. The backbone, which can be frozen,
    is apart from the rest.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [(parameters, weight_decay if decays else 0.0) for (_, decays), parameters in groups.items()]
