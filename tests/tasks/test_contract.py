"""Every task x backbone x attention x head trains a step, reaches every parameter, and is the same after a reload."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as read_tensors

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import choose_device
from xlite.models.artifact import load_model, state_copy
from xlite.models.build import call
from xlite.tasks import TASKS
from xlite.tasks.defaults import base_config, teacher_config
from xlite.train.checkpoint import checkpoint_files
from xlite.train.inference import predict_logits
from xlite.train.loop import _Trainer
from xlite.train.resumable import train_resumable
from xlite.train.run import TrainingRun
from xlite.train.step import new_model

CPU = choose_device("fp32", kind="cpu")
NUM_ROWS = 24


@dataclass(frozen=True)
class Shape:
    """What a task's examples look like, small."""

    task: str
    kind: str
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    dtype: str = "|u1"
    auxiliary: str | None = None
    below: int = 0

    @property
    def input_spec(self):
        layout = {"lumbar_spine": "slices", "stm_scanlines": "lines"}.get(self.task, "image")
        return InputSpec(layout, self.input_shape, self.dtype, () if self.auxiliary is None else (self.auxiliary,))


SHAPES = {
    "chest": Shape("chestxray14", "multilabel", (32, 32), (14,)),
    "lumbar": Shape("lumbar_spine", "ordinal", (7, 32, 32, 3), (3,), auxiliary="level", below=5),
    "stm": Shape("stm_scanlines", "multiclass", (8, 16), (8, 4), dtype="<f2", auxiliary="num_lines", below=8),
    "classes": Shape("images", "multiclass", (32, 32), (4,)),
    "colour": Shape("images", "multilabel", (32, 32, 3), (2,)),
}
CASES = [
    *[(name, {"model.backbone": backbone, "model.attention": attention})
      for name in ("chest", "lumbar", "classes", "colour")
      for backbone in ("mobilenetv3_small_050", "resnet10t", "convnext_atto")
      for attention in ("none", "mhsa", "performer")],
    *[("stm", {"model.layers": 2, "model.width": 32, "model.causal": causal, "model.normalise_lines": normalise})
      for causal in (False, True) for normalise in (False, True)],
    ("lumbar", {"model.head": "coral", "loss.name": "coral"}),
    ("lumbar", {"loss.class_gamma": 1.5}),
]  # fmt: skip
ONE_OF_EACH = [
    pytest.param(
        *case, marks=[pytest.mark.slow] * (case[0] in ("classes", "colour") and "mhsa" not in case[1].values())
    )
    for case in CASES
]
"""Cases that differ from others in labels and channels alone are left to the slow run where a case takes seconds."""


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return {name: dataset_of(shape, folder / f"{name}.npy") for name, shape in SHAPES.items()}


def dataset_of(shape, file):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (NUM_ROWS, *shape.input_shape)).astype(shape.dtype)
    np.save(file, pixels)
    rows = (NUM_ROWS, *shape.target_shape)
    if shape.kind == "multilabel":
        targets = rng.integers(0, 2, rows).astype(np.float32)
    else:
        classes = np.arange(np.prod(rows[:-1])).reshape(rows[:-1]) % rows[-1]
        targets = np.eye(rows[-1], dtype=np.float32)[classes]
    targets[0] = np.nan
    auxiliary = (
        None
        if shape.auxiliary is None
        else rng.integers(1, shape.below + 1, (NUM_ROWS, 1)) - (shape.task == "lumbar_spine")
    )
    names = np.array([f"row{i}" for i in range(NUM_ROWS)])
    parts = {"train": np.arange(12), "val": np.arange(12, 20), "test": np.arange(20, 24)}
    labels = tuple(f"label{i}" for i in range(rows[-1]))
    spec = shape.input_spec.with_auxiliary(auxiliary)
    return Dataset(file, file.stem, np.arange(NUM_ROWS), names, names, targets, labels, parts, "split", spec, auxiliary)


def config_of(shape, **overrides):
    task = TASKS[shape.task].resolve_targets(shape.kind)
    base = base_config(task, "cpu", max_epochs=1, seed=0, threads=1, settings={"optim.batch_size": 6})
    changes = {"optim.warmup_epochs": 0, "data.augmentation": "medium", **overrides}
    return task, base.override(changes, source="test")


@pytest.mark.parametrize(("name", "model"), CASES, ids=lambda value: str(value) if isinstance(value, str) else None)
def test_a_step_reaches_every_parameter_and_a_reload_changes_nothing(name, model, datasets, tmp_path):
    dataset, (task, config) = datasets[name], config_of(SHAPES[name], **model)
    module = new_model(TrainingRun(config, task, dataset, CPU))
    rows = dataset.part("train")
    images, auxiliary = CPU.inputs(
        dataset.input_spec, np.array(dataset.open_pixels()[rows]), dataset.auxiliary_of(rows)
    )
    targets = torch.from_numpy(dataset.targets[rows])
    logits = call(module, images, auxiliary)
    assert logits.shape == targets.shape and logits.dtype == torch.float32
    objective = task.target_spec.make_objective(
        config.override({"distill.alpha": 0.5}, source="test"), dataset.targets[rows]
    )
    objective(logits, targets, torch.randn_like(logits))["loss"].backward()
    without = [key for key, value in module.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    assert without == []

    (kept,) = train_resumable(TrainingRun(config, task, dataset, CPU), folder=tmp_path, stem="student")
    report = kept.report
    assert np.isfinite(report.train["loss"]) and 0 <= report.value <= 1
    loaded, description = load_model(tmp_path / "student.safetensors")
    loaded = CPU.move(loaded)
    state = new_model(TrainingRun(config, task, dataset, CPU))
    state.load_state_dict(report.best_state)
    val = dataset.part("val")
    np.testing.assert_array_equal(
        predict_logits(loaded, dataset, val, device=CPU), predict_logits(state, dataset, val, device=CPU)
    )
    assert description["target_kind"] == SHAPES[name].kind


@pytest.mark.parametrize(
    ("name", "model"), ONE_OF_EACH, ids=lambda value: str(value) if isinstance(value, str) else None
)
def test_a_run_cut_off_after_an_epoch_ends_as_the_whole_one(name, model, datasets, tmp_path):
    dataset, (task, config) = datasets[name], config_of(SHAPES[name], **model)
    config = config.override({"train.epochs": 2}, source="test")

    def run(folder):
        return train_resumable(TrainingRun(config, task, dataset, CPU), folder=folder, stem="student")

    cut_off = run(tmp_path / "cut")
    next(cut_off)
    cut_off.close()
    whole, again = list(run(tmp_path / "whole")), list(run(tmp_path / "cut"))
    assert [kept.report is None for kept in again] == [True, False]
    last, expected = again[-1].report, whole[-1].report
    assert (last.train, last.val_loss, last.value) == (expected.train, expected.val_loss, expected.value)
    ours, theirs = (read_tensors(checkpoint_files(tmp_path / place, "student")[1]) for place in ("cut", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("name", "model"), ONE_OF_EACH, ids=lambda value: str(value) if isinstance(value, str) else None
)
def test_a_model_exports_to_a_graph_that_says_the_same_for_any_batch(name, model, datasets):
    dataset, (task, config) = datasets[name], config_of(SHAPES[name], **model)
    module = new_model(TrainingRun(config, task, dataset, CPU)).eval()
    rows = dataset.part("train")[:4]
    pixels = np.array(dataset.open_pixels()[rows])
    inputs = [t for t in CPU.inputs(dataset.input_spec, pixels, dataset.auxiliary_of(rows)) if t is not None]
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, tuple(inputs), dynamic_shapes=tuple({0: batch} for _ in inputs))
    assert "autocast" not in program.graph_module.code  # other runtimes have no such operation
    for size in (4, 1):
        given = [tensor[:size] for tensor in inputs]
        with torch.inference_mode():
            torch.testing.assert_close(program.module()(*given), module(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", ["cpu", "cpu_pretrained", "cuda"])
def test_every_default_configuration_is_valid(name, kind):
    task = TASKS[SHAPES[name].task].resolve_targets(SHAPES[name].kind)
    defaults = [task.defaults[kind]] if kind in task.defaults else []
    for budget in (budget for each in defaults for budget in (each.budget, each.demo_budget)):
        base = base_config(task, kind, max_epochs=budget.max_epochs, seed=0, threads=1, settings={})
        teacher = teacher_config(task, base, kind, epochs=budget.teacher_epochs)
        assert teacher.distill.alpha == 0 and teacher.train.epochs == budget.teacher_epochs
        assert teacher.model.head == "classes"


def test_a_frozen_backbone_does_not_move_and_is_let_go_afterwards(datasets):
    dataset, (task, config) = datasets["lumbar"], config_of(SHAPES["lumbar"])
    config = config.override({"train.epochs": 2, "optim.freeze_epochs": 1}, source="test")
    run = _Trainer(TrainingRun(config, task, dataset, CPU))
    before = state_copy(run.learner.model)
    backbone = [key for key in before if key.startswith("backbone.")]
    head = [key for key in before if key.startswith("head.")]
    run.train_epoch(0, [])
    first = state_copy(run.learner.model)
    assert all(torch.equal(first[key], before[key]) for key in backbone)  # running statistics too
    assert any(not torch.equal(first[key], before[key]) for key in head)
    run.train_epoch(1, [0.5])
    second = state_copy(run.learner.model)
    assert any(not torch.equal(second[key], before[key]) for key in backbone)


def test_inputs_that_an_architecture_does_not_take_are_refused_by_name(datasets):
    from xlite.errors import InputError

    for name, key, value in (
        ("lumbar", "model.num_slices", 5),
        ("lumbar", "model.architecture", "image"),
        ("chest", "model.architecture", "slices"),
    ):
        task, config = config_of(SHAPES[name], **{key: value})
        with pytest.raises(InputError, match=f"{key}={value}"):
            new_model(TrainingRun(config, task, datasets[name], CPU))


def test_a_kind_of_targets_that_the_task_is_not_for_is_refused():
    from xlite.errors import InputError

    with pytest.raises(InputError, match="made for multilabel targets, but the data is multiclass"):
        TASKS["chestxray14"].resolve_targets("multiclass")


def test_coral_and_its_head_go_together():
    from xlite.errors import InputError

    with pytest.raises(InputError, match=r"loss.name=coral and model.head=coral go together"):
        RunConfig().override({"loss.name": "coral"}, source="test")
