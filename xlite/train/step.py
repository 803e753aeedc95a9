"""The optimiser step: forward, loss, backward, clip, update; plainly, or recorded once as a CUDA graph."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from xlite.device import gpu_stream
from xlite.errors import TrainingFailed, first_line
from xlite.losses.objectives import DistillObjective
from xlite.models.build import build_model, call, check_input
from xlite.models.matmul_convolutions import use_matmul_convolutions
from xlite.tasks.target_spec import Objective
from xlite.train.batch_loader import Batch
from xlite.train.flat_parameters import FlatParameters, clip_gradients
from xlite.train.run import TrainingRun

CHECK_EVERY = 50
"""Steps between two checks for finite losses on a GPU: each check waits for the device."""
_WARM_UP_STEPS = 3  # before a capture, as in PyTorch's notes on CUDA graphs
_MODEL = "model."  # before the names of the model's tensors
_ONE_VALUE = "more than 1 value per channel"  # in the error of a batch normalisation
_WAITS = "synchronizing CUDA operation"  # in the error of an operation that waits for the device


class RecordingFailed(RuntimeError):
    """A step cannot be recorded as a CUDA graph; the message is the reason.

    Attributes:
        process_is_fit: whether this process can train on, from where it was. Else the capture could not be ended:
            PyTorch's allocator may believe that it still goes on, and then frees no batch any more.
    """

    def __init__(self, reason: str, *, process_is_fit: bool) -> None:
        super().__init__(f"steps cannot be recorded ({reason})")
        self.process_is_fit = process_is_fit


@dataclass(frozen=True)
class StepOutput:
    """On the device: the terms of the loss (T,), the gradient's norm, the logits (B, ..., L)."""

    terms: Tensor
    norm: Tensor
    logits: Tensor


class Learner:
    """Model, objective and optimiser of one run."""

    def __init__(self, run: TrainingRun) -> None:
        self.config, self.device = config, device = run.config, run.device
        self.model = new_model(run)
        use_matmul_convolutions(self.model)
        self.objective: Objective = run.task.target_spec.objective(config, run.train_targets)
        if isinstance(self.objective, DistillObjective):
            self.objective.has_gaps = run.bank is not None and run.bank.has_gaps
        rate = config.optim.learning_rate
        grouped = _parameter_groups(self.model, config.optim.weight_decay)
        self.groups = [FlatParameters(parameters) for parameters, _ in grouped]
        self.optimizer = torch.optim.AdamW(
            [{"params": [g.value], "weight_decay": d} for g, (_, d) in zip(self.groups, grouped, strict=True)],
            # a number would be constant in a recorded graph
            lr=torch.tensor(rate, device=device.torch_device) if device.on_gpu else rate,
            fused=True,
            capturable=device.on_gpu,
        )
        self.term_names: list[str] = []

    def prepare(self, *, frozen: bool, rate: float) -> None:
        """Set training mode and learning rate; freeze or unfreeze the backbone's weights and running statistics."""
        self.model.train()
        backbone = getattr(self.model, "backbone", None)
        if backbone is not None and self.config.optim.freeze_epochs:
            backbone.requires_grad_(not frozen)
            backbone.train(not frozen)
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, batch: Batch) -> StepOutput:
        """One optimiser step, without waiting for the device; skipped if the loss or its gradient is not finite."""
        if self.config.train.micro_batches == 1:
            logits = self.forward(batch)
            values, loss = self.evaluate(logits, batch)
            loss.backward()
        else:
            values, logits = self.backward_in_micro_batches(batch)
        for group in self.groups:
            group.take_gradients()
        norm = clip_gradients(self.groups, self.config.optim.clip_norm)
        finite = torch.isfinite(values[0]) & torch.isfinite(norm)
        self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # skips the fused step
        self.optimizer.step()
        return StepOutput(values, norm, logits.detach())

    def forward(self, batch: Batch) -> Tensor:
        """Logits of a batch, float32."""
        try:
            with self.device.autocast():
                return call(self.model, batch.images, batch.auxiliary).float()
        except ValueError as error:
            if _ONE_VALUE not in str(error):
                raise
            problem = "batch normalisation had one value of a channel"
            raise TrainingFailed(f"{problem}; raise optim.batch_size or data.image_size") from None

    def evaluate(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The values of the loss's terms (T,), and the loss."""
        terms = self.objective(logits, batch.targets, batch.teacher_logits)
        self.term_names = list(terms)
        return torch.stack([term.detach() for term in terms.values()]).float(), terms["loss"]

    def backward_in_micro_batches(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The whole batch's gradient in the memory of a micro-batch: values of the loss's terms, and logits.

        All logits are computed first, without a graph, then the loss's gradient with respect to them, then its backward
        pass through one micro-batch after the other (gradient caching, Gao et al., arXiv 2101.06983). For one more
        forward pass this is exact, however a loss averages over unknown labels and class weights; only batch
        normalisation sees micro-batches.
        """
        micro_batches = list(batch.micro_batches(self.config.train.micro_batches))
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        random_states = []
        cached = []
        with torch.no_grad():
            for micro_batch in micro_batches:
                random_states.append(self.device.random_state())
                cached.append(self.forward(micro_batch))
            for name, value in self.model.named_buffers():
                value.copy_(buffers[name])  # running statistics must be updated once
        logits = torch.cat(cached).requires_grad_()
        values, loss = self.evaluate(logits, batch)
        (slope,) = torch.autograd.grad(loss, logits)
        slopes = slope.split([len(part) for part in cached])
        for micro_batch, state, its_slope in zip(micro_batches, random_states, slopes, strict=True):
            self.device.set_random_state(state)  # the same dropout as in the first pass
            self.forward(micro_batch).backward(its_slope)
        return values, logits

    def tensors(self) -> dict[str, Tensor]:
        """State of the model and the optimiser, not copied: the next step changes it."""
        out = dict(self.model_tensors)
        for number, group in enumerate(self.groups):
            state = self.optimizer.state.get(group.value, {})  # empty until the group is trained
            out |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        return out

    @cached_property
    def model_tensors(self) -> dict[str, Tensor]:
        """The model's state, looked up once: training, `restore` and graphs change it in place."""
        return {f"{_MODEL}{name}": value.detach() for name, value in self.model.state_dict().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned.

        Raises:
            RuntimeError, KeyError: they belong to another model.
        """
        self.model.load_state_dict(model_state(tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            section, _, rest = key.partition(".")
            if section == "optimizer":
                number, _, name = rest.partition(".")
                state.setdefault(int(number), {})[name] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def model_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's state among what `Learner.tensors` returned."""
    return {name.removeprefix(_MODEL): value for name, value in tensors.items() if name.startswith(_MODEL)}


class GraphStep:
    """`Learner.step` on fixed buffers, recorded once and replayed, so that a small student does not wait for launches.

    On a CPU the step runs on the same buffers without a recording. See "CUDA graphs" in PyTorch's notes.

    Args:
        example: a batch of the size that all batches have.

    Raises:
        RecordingFailed: where its process is fit, the learner is as it was, and plain steps have been seen to work.
    """

    def __init__(self, learner: Learner, example: Batch) -> None:
        self.learner = learner
        self.batch = replace(example, **{name: t.clone() for name, t in vars(example).items() if t is not None})
        self.graph: torch.cuda.CUDAGraph | None = None
        self.out: StepOutput | None = None
        if learner.device.on_gpu:
            self._record()

    def step(self, batch: Batch) -> StepOutput:
        """As `Learner.step`."""
        for mine, new in zip(self.batch.tensors(), batch.tensors(), strict=True):
            mine.copy_(new, non_blocking=True)
        if self.graph is None:
            return self.learner.step(self.batch)
        self.graph.replay()
        assert self.out is not None
        return StepOutput(self.out.terms.clone(), self.out.norm.clone(), self.out.logits.clone())

    def _record(self) -> None:
        """Warm up and record; weights, optimiser and random state are restored."""
        learner, place = self.learner, self.learner.device.torch_device
        before = {name: value.clone() for name, value in learner.tensors().items()}
        random_state = torch.cuda.get_rng_state(place)
        stream = gpu_stream("recording", place)
        problem = self._warm_up(stream) or self._capture(stream)
        for name, value in learner.tensors().items():  # in place: the graph holds these addresses
            value.copy_(before[name]) if name in before else value.zero_()
        torch.cuda.set_rng_state(random_state, place)
        if problem:
            learner.model.zero_grad()  # what a step that was not finished left: the next one would add to it
            raise RecordingFailed(problem, process_is_fit=True)

    def _warm_up(self, stream: torch.cuda.Stream) -> str:
        """Plain steps on the stream of the recording; returns which of their operations no capture would allow, or "".

        That is found out here because a capture that meets it makes the process unfit. The first step may wait for the
        device: the loss's weights go there with it.
        """
        place, mode = self.learner.device.torch_device, torch.cuda.get_sync_debug_mode()
        stream.wait_stream(torch.cuda.current_stream(place))
        try:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_STEPS):
                    self.learner.step(self.batch)
                    _set_sync_debug_mode("error")
        except RuntimeError as error:
            if _WAITS not in str(error):
                raise
            return first_line(error)
        finally:
            _set_sync_debug_mode(mode)
            torch.cuda.current_stream(place).wait_stream(stream)
        return ""

    def _capture(self, stream: torch.cuda.Stream) -> str:
        """Record a step; returns why it could not be recorded, e.g. for want of memory, or "".

        Raises:
            RecordingFailed: the capture could not be ended.
        """
        graph, problem = torch.cuda.CUDAGraph(), ""
        try:
            # "thread_local": the loader's thread pins memory meanwhile, which would end a global capture
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                try:
                    self.out = self.learner.step(self.batch)
                except RuntimeError as error:  # kept, as ending the capture may raise too
                    problem = first_line(error)
        except RuntimeError as error:
            raise RecordingFailed(problem or first_line(error), process_is_fit=False) from None
        if not problem:
            self.graph = graph
        return problem


def check_finite(steps: Sequence[StepOutput], *, epoch: int, first_step: int, rate: float) -> None:
    """Check the steps `first_step`, ... (1-based) of an epoch (1-based).

    Raises:
        TrainingFailed: names the first step whose loss or gradient is not finite.
    """
    losses, norms = torch.stack([step.terms[0] for step in steps]), torch.stack([step.norm for step in steps])
    for number, values in enumerate(zip(losses.tolist(), norms.tolist(), strict=True), start=first_step):
        for name, value in zip(("loss", "gradient's norm"), values, strict=True):
            if not math.isfinite(value):
                where = f"epoch {epoch}, step {number} (learning rate {rate:.2g})"
                raise TrainingFailed(f"the {name} is {value} at {where}")


def new_model(run: TrainingRun) -> nn.Module:
    """The run's untrained model, on its device.

    Raises:
        InputError: as `check_input` and `build_model`.
    """
    spec = run.dataset.input_spec
    check_input(run.config.model, spec)
    model = build_model(
        run.config.model,
        num_labels=len(run.dataset.labels),
        in_channels=spec.channels,
        image_size=spec.image_size,
        bias=run.task.target_spec.initial_bias(run.train_targets),
        seed=run.config.train.seed,
        origins=run.origins,
    )
    return run.device.move(model)


def _set_sync_debug_mode(mode: str | int) -> None:
    """What operations of this process that wait for the device do: nothing more (0), or raise ("error")."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyTorch does not know all of them
        torch.cuda.set_sync_debug_mode(mode)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters by weight decay (none for biases and norms), with the backbone, which can be frozen, apart."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [(parameters, weight_decay if decays else 0.0) for (_, decays), parameters in groups.items()]
