"""What the tasks' defaults for a GPU need of its memory, estimated on a CPU: does each fit a card of 12 GB?

    python benchmarks/gpu_memory.py

Of each model and its largest batch: weights, gradients and AdamW's averages, and what the forward pass saves for the
backward pass, counted in one step of two examples under bf16 autocast. With the headroom that shares of a GPU have, and
a CUDA context. Nothing here was measured on a GPU.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from xlite.commands.options import space_file
from xlite.config import ModelConfig, RunConfig
from xlite.data.batches import Draw
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.gpu.probe import TYPICAL_CONTEXT_BYTES, Shapes, probe_config
from xlite.gpu.share_classes import HEADROOM
from xlite.study.probes import check_space, distinct
from xlite.study.space import load_space
from xlite.study.step_cost import STATE_BYTES, saved_bytes
from xlite.tasks import TASKS
from xlite.tasks.defaults import base_config, teacher_config
from xlite.train.batch_loader import BatchLoader
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

USABLE_GIB = 11.0
"""Of a card of 12 GB: the driver and a screen take the rest."""
NUM_EXAMPLES = 2
_WORKING = 2**29  # cuDNN's workspaces and the largest gradient of an activation
_SHAPES = {
    "chestxray14": ("multilabel", InputSpec("image", (224, 224)), (14,)),
    "images": ("multilabel", InputSpec("image", (224, 224, 3)), (14,)),
    "lumbar_spine": ("ordinal", InputSpec("slices", (7, 256, 256, 3), "|u1", ("level",), (4,)), (3,)),
    "stm_scanlines": ("multiclass", InputSpec("lines", (64, 128), "<f2", ("num_lines",), (64,)), (64, 4)),
}
"""By task: kind of targets, examples as the GPU defaults have them, targets of one."""


def main() -> None:
    """Print a row for each model of each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=sorted(TASKS))
    print("| task | model | largest batch | MiB an example | GiB in all | on 12 GB |\n" + "| --- " * 6 + "|")
    for name in parser.parse_args().tasks:
        kind, spec, targets = _SHAPES[name]
        shapes = Shapes(name, kind, spec, targets, num_val=1)
        for what, config in configurations(name, kind):
            example, params = count(config, shapes)
            split = config.train.micro_batches
            needed = whole = gib(config, params, example, split)
            while needed > USABLE_GIB and split < config.optim.batch_size:
                split *= 2  # as a trial that ran out of memory does
                needed = gib(config, params, example, split)
            how = "whole" if split == 1 else f"in {split} micro-batches, {needed:.1f} GiB"
            cells = (name, what, config.optim.batch_size, f"{example / 2**20:.0f}", f"{whole:.1f}", how)
            print("|", " | ".join(map(str, cells)), "|", flush=True)


def gib(config: RunConfig, num_params: int, example_bytes: float, num_micro_batches: int) -> float:
    """GiB of a training process."""
    examples = -(-config.optim.batch_size // num_micro_batches)
    peak = STATE_BYTES * num_params + _WORKING + example_bytes * examples
    return (HEADROOM * peak + TYPICAL_CONTEXT_BYTES) / 2**30


def configurations(name: str, kind: str) -> Iterator[tuple[str, RunConfig]]:
    """Each model of the task's space and baselines for a GPU with its largest batch, then the teacher."""
    task = TASKS[name].resolve_targets(kind)
    defaults = task.defaults["cuda"]
    base = base_config(task, "cuda", max_epochs=defaults.budget.max_epochs, seed=0, threads=1, settings={})
    spaces = [load_space(space_file(None, file), kind) for file in (defaults.space, defaults.baselines)]
    configs = [config for space in spaces for config in check_space(space, base)]
    largest = max(config.optim.batch_size for config in configs)
    for config in distinct(configs, lambda config: (named(config.model), config.model.attention)):
        config = config.override({"optim.batch_size": largest}, source="count")
        attention = config.model.attention
        yield named(config.model) + ("" if attention == "none" else f", {attention}"), config
    teacher = teacher_config(task, base, "cuda", epochs=defaults.budget.teacher_epochs)
    yield f"teacher: {named(teacher.model)}", teacher


def named(model: ModelConfig) -> str:
    """Its backbone, or a scan-line encoder's size."""
    return f"lines {model.layers} x {model.width}" if model.architecture == "lines" else model.backbone


def count(config: RunConfig, shapes: Shapes) -> tuple[float, int]:
    """Bytes that an example's forward pass saves, and the parameters."""
    plain = probe_config(config).override({"train.micro_batches": 1, "optim.batch_size": NUM_EXAMPLES}, source="count")
    with tempfile.TemporaryDirectory() as folder:
        dataset = shapes.make(Path(folder), NUM_EXAMPLES)
        run = TrainingRun(plain, shapes.resolved_task(), dataset, Device(torch.device("cpu"), torch.bfloat16))
        learner, loader = Learner(run), BatchLoader(run)
        learner.prepare(frozen=False, rate=1e-4)
        draws: list[Draw] = loader.plan(0)
        (batch,) = loader.batches(draws)
        saved = saved_bytes(learner, batch)
    return saved / NUM_EXAMPLES, sum(parameter.numel() for parameter in learner.model.parameters())


if __name__ == "__main__":
    main()
