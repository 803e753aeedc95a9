"""Steps on what a search is planned with and judged by: the probe's footprint, and metrics in bf16."""

import time

import numpy as np
import torch

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device, release_memory
from xlite.gpu.probe import Footprint, Shapes, footprint_key, probe_all
from xlite.gpu_check.material import TOY, config_of, images, run_of
from xlite.gpu_check.place import Place, Wrong
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.metrics.thresholds import choose_thresholds
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.batch_loader import BatchLoader
from xlite.train.inference import predict_logits
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

PEAK_GOAL, CONTEXT_MIB = 1.15, (300, 1024)
AUC_TOLERANCE, F1_GOAL = 1e-3, 0.01
_STEPS = 60


def probe(place: Place) -> str:
    """The footprint that shares are planned with, and what 60 steps of a trial on real batches take."""
    device = choose_device(kind=place.device)
    models = place.pick(
        (("mobilenetv3_small_100", "none", 32), ("efficientnet_b0", "mhsa", 64), ("convnext_tiny", "performer", 32)),
        ((TOY, "none", 4),),
    )
    dataset = images(
        place.folder, px=place.pick(224, 32), num_train=_STEPS * models[-1][2] * 2, num_val=256, distinct=256
    )
    shapes = Shapes.of(dataset, CHESTXRAY14.name, CHESTXRAY14.target_spec.kind, device)
    configs = {}
    for backbone, attention, batch_size in models:
        changes = {"model__backbone": backbone, "model__attention": attention, "optim__batch_size": batch_size}
        name = f"{backbone}, {attention}, batch {batch_size}"
        configs[name] = config_of(dataset, **changes, train__step="graph", train__epochs=1)
    started = time.perf_counter()
    found = probe_all(list(configs.values()), shapes, device, folder=place.folder / "probes")
    place.number("seconds a probe, with its process", (time.perf_counter() - started) / len(configs))
    worst = 0.0
    for name, config in configs.items():
        footprint = found[footprint_key(config, shapes, device)]
        if not isinstance(footprint, Footprint):
            raise Wrong(f"{name}: {footprint}")
        worst = max(worst, _against_a_trial(place, name, footprint, config, dataset, device))
    return f"peak of 60 steps at most {worst:.2f}x the probe's" if place.on_gpu else "toy"


def _against_a_trial(
    place: Place, name: str, footprint: Footprint, config: RunConfig, dataset: Dataset, device: Device
) -> float:
    """The trial's peak over the probe's."""
    own = dataset.with_train(dataset.part("train")[: _STEPS * config.optim.batch_size])
    release_memory()
    if device.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    (report,) = fit(TrainingRun(config, CHESTXRAY14, own, device))
    place.number(f"{name}: probe's step, ms", 1000 * footprint.step_s)
    trained_s = (report.seconds["data"] + report.seconds["step"]) / _STEPS
    place.number(f"{name}: trial's step, the first epoch's, ms", 1000 * trained_s)
    if not device.on_gpu:
        return 0.0
    ratio = torch.cuda.max_memory_reserved() / footprint.peak_bytes
    place.number(f"{name}: probe's peak, MiB", footprint.peak_bytes / 2**20)
    place.must(f"{name}: trial's peak over the probe's", ratio, at_most=PEAK_GOAL)
    context = footprint.context_bytes / 2**20
    place.number(f"{name}: CUDA context, MiB", context, at_least=CONTEXT_MIB[0], at_most=CONTEXT_MIB[1])
    return ratio


def precision(place: Place) -> str:
    """A student trained in bf16, evaluated in both: what is selected and shipped must not depend on it."""
    coarse, fine = choose_device("bf16", kind=place.device), choose_device("fp32", kind=place.device)
    num_train, num_val = place.pick((4096, 2048), (64, 256))
    dataset = images(
        place.folder, px=place.pick(64, 32), num_train=num_train, num_val=num_val, distinct=num_train + num_val
    )
    run = run_of(dataset, coarse, model__backbone=place.pick("mobilenetv3_small_100", TOY), optim__batch_size=32)
    learner, loader = Learner(run), BatchLoader(run)
    learner.prepare(frozen=False, rate=1e-3)
    for number in range(place.pick(3, 1)):
        for batch in loader.batches(loader.plan(number)):
            learner.step(batch)
    val = dataset.part("val")
    truth, labels = dataset.targets[val], dataset.labels
    logits = [predict_logits(learner.model, dataset, val, device=device) for device in (coarse, fine)]
    answers = [CHESTXRAY14.target_spec.probabilities(each) for each in logits]
    judged = [evaluate_multilabel(each, truth, labels) for each in answers]
    aucs = [each.scalars["auc_macro"] for each in judged]
    place.number("macro AUC in float32", aucs[1])
    place.must("difference in macro AUC", abs(aucs[0] - aucs[1]), at_most=place.pick(AUC_TOLERANCE, 0.05))
    per_label = [np.array([each.per_label[label].get("auc", 0.0) for label in labels]) for each in judged]
    place.number("largest difference in a label's AUC", float(np.abs(per_label[0] - per_label[1]).max()))
    place.number("largest difference of a probability", float(np.abs(answers[0] - answers[1]).max()))
    chosen = [choose_thresholds(each, truth, labels, method="f1")[0] for each in answers]
    place.number("largest difference of a threshold", max(abs(chosen[0][label] - chosen[1][label]) for label in labels))
    f1 = [_macro_f1(answers[1], truth, labels, thresholds) for thresholds in chosen]
    place.number(
        "macro F1 in float32 lost by thresholds chosen in bf16", f1[1] - f1[0], at_most=place.pick(F1_GOAL, None)
    )
    return f"macro AUC {aucs[1]:.4f}, in bf16 {aucs[0] - aucs[1]:+.1e}"


def _macro_f1(answers: np.ndarray, truth: np.ndarray, labels: tuple[str, ...], thresholds: dict[str, float]) -> float:
    at = np.array([thresholds[label] for label in labels])
    return evaluate_multilabel(answers, truth, labels, threshold=at).scalars["f1_macro"]
