"""The step on distillation: the bank against the live teacher, and what an epoch with it costs."""

import time
from dataclasses import replace

import torch

from xlite.device import choose_device
from xlite.distill.bank import Bank, open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.bank_check import check_bank
from xlite.gpu_check.material import TEACHER, TOY, images, median, run_of, untrained_teacher
from xlite.gpu_check.place import Place
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.batch_loader import BatchLoader
from xlite.train.loop import fit
from xlite.train.run import TrainingRun

NUM_VIEWS = 2
VIEWS_GOAL, EPOCH_GOAL = 4000.0, 1.05
_ROUNDS = 7  # an epoch takes a fraction of a second


def bank(place: Place) -> str:
    """Two views of each image, answered live and from the bank; then epochs with distillation and without."""
    device = choose_device(kind=place.device)
    num_train = place.pick(2048, 64)
    dataset = images(place.folder, px=place.pick(224, 32), num_train=num_train, num_val=64, distinct=num_train + 64)
    run = run_of(dataset, device, optim__batch_size=place.pick(32, 8), distill__alpha=0.5, train__epochs=_ROUNDS + 1)
    teacher = untrained_teacher(place.pick(TEACHER, TOY), dataset, device)
    reader = CHESTXRAY14.train_views(dataset, run.config)
    source = BankSource(teacher, reader, device, NUM_VIEWS)
    first = source.batches()[0]
    source.answer(first, source.images(first))  # loads the kernels
    started = time.perf_counter()
    built = open_or_build(
        source,
        data_key=dataset.train_hash(),
        logits_shape=dataset.targets.shape[1:],
        folder=place.folder / "banks",
        pixel_budget_bytes=2**40,
    )
    views_per_s = NUM_VIEWS * num_train / (time.perf_counter() - started)
    place.number("views/s of building the bank", views_per_s, at_least=place.pick(VIEWS_GOAL, None))
    checked = check_bank(built, teacher, reader, device=device, num_rows=place.pick(1024, None))
    place.must("answers beyond the tolerance", checked.num_beyond, at_most=0)
    place.must("pixels that differ", checked.num_pixels_different, at_most=0)
    place.must("a banked batch is the live one, bit for bit", _same_batches(run, built))
    ratio = _kd_epoch(run, built, place)
    return f"{checked.num_checked:,} views as the live teacher's; {views_per_s:,.0f} views/s; KD epoch {ratio:.2f}x"


def _same_batches(run: TrainingRun, built: Bank) -> bool:
    """Whether images and targets are the same with the bank's pixels and augmented live."""
    loaders = [BatchLoader(replace(run, bank=built)), BatchLoader(replace(run, num_views=NUM_VIEWS))]
    for draws in zip(*(loader.plan(1)[:4] for loader in loaders), strict=True):
        banked, live = (loader.load(draw)[0] for loader, draw in zip(loaders, draws, strict=True))
        if run.device.on_gpu:
            torch.cuda.synchronize()
        if not (torch.equal(banked.images, live.images) and torch.equal(banked.targets, live.targets)):
            return False
    return True


def _kd_epoch(run: TrainingRun, built: Bank, place: Place) -> float:
    """Seconds of an epoch with banked answers over those of one without, both augmented live, in turns."""
    student = {"model.backbone": place.pick("mobilenetv3_large_100", TOY), "train.step": "graph"}
    config = run.config.override(student, source="check")
    taught = replace(run, config=config, bank=replace(built, has_pixels=False))
    alone = replace(run, config=config.override({"distill.alpha": 0.0}, source="check"), num_views=NUM_VIEWS)
    reports = [fit(taught), fit(alone)]
    for each in reports:
        next(each)
    ratios = []
    for _ in range(_ROUNDS):
        speeds = [next(each).images_per_s for each in reports]
        ratios.append(speeds[1] / speeds[0])
    place.number("KD epoch over a plain epoch", median(ratios), at_most=place.pick(EPOCH_GOAL, None))
    return median(ratios)
