"""The probe: real training steps in a process of its own, cached on disk, harmless when it fails."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.gpu import probe_worker
from xlite.gpu.probe import (
    TYPICAL_CONTEXT_BYTES,
    Footprint,
    Shapes,
    footprint_key,
    interpolated,
    probe_all,
    probe_config,
)
from xlite.gpu.probe_worker import context_bytes, used_by_uuid
from xlite.train.inference import evaluation_batches

CPU = choose_device(kind="cpu")
SHAPES = Shapes("chestxray14", "multilabel", InputSpec("image", (32, 32)), (3,), 8)
MIB = 2**20


def config(**changes):
    small = {"data.image_size": 32, "optim.batch_size": 4}
    return RunConfig().override({**small, **{k.replace("__", "."): v for k, v in changes.items()}}, source="test")


GOOD_ANSWER = """while read line; do echo '{"peak_bytes": 5, "context_bytes": 0, "step_s": 1.0, "fits": true}'; done"""


def fake_program(program, *lines):
    """Write an executable shell script."""
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)


def measured(configs, folder, shapes=SHAPES, **options):
    return probe_all(configs, shapes, CPU, folder=folder, **options)


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """(folder, results) of two architectures and one that cannot be built."""
    folder = tmp_path_factory.mktemp("probes")
    configs = [config(), config(model__backbone="no_such_net"), config(model__attention="mhsa", optim__batch_size=64)]
    seen = []
    results = measured(configs, folder, progress=lambda done, total: seen.append((done, total)))
    return folder, configs, list(results.values()), seen


def test_memory_and_time_of_real_steps_are_measured(probed):
    _, _, (small, _, large), seen = probed
    assert small.step_s > 0 and large.step_s > small.step_s  # 64 images with attention against 4 without
    assert 50 * MIB < small.peak_bytes <= large.peak_bytes  # PyTorch itself is resident
    assert small.fits and small.context_bytes == 0
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_failed_probe_gives_the_reason_and_the_next_is_measured(probed):
    _, _, (_, failed, large), _ = probed
    assert "InputError" in failed and "no_such_net" in failed
    assert isinstance(large, Footprint)


def test_footprints_are_cached_and_failures_are_not(probed, monkeypatch):
    folder, configs, results, _ = probed
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr("sys.executable", "/nowhere/python")  # no process can be started
    assert list(measured([configs[0], configs[2]], folder).values()) == [results[0], results[2]]
    with pytest.raises(FileNotFoundError):
        measured([configs[1]], folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"peak_bytes"', '"peak"'),
        lambda text: text.replace('"batch_size": 4', '"batch_size": 8'),
        lambda text: text.replace('"step_s": 0', '"step_s": -1'),
    ],
    ids=["cut short", "not a footprint", "another key", "of another configuration", "impossible"],
)
def test_a_damaged_entry_is_not_used(probed, tmp_path, damage, monkeypatch):
    folder, configs, _, _ = probed
    name = f"{footprint_key(configs[0], SHAPES, CPU)}.json"
    text = (folder / name).read_text()
    assert damage(text) != text
    (tmp_path / name).write_text(damage(text))
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):  # it tries to measure again
        measured([configs[0]], tmp_path)


def test_a_damaged_entry_is_measured_again_and_replaced(tmp_path, monkeypatch):
    fake_program(tmp_path / "python", GOOD_ANSWER)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    entry = tmp_path / "kept" / f"{footprint_key(config(), SHAPES, CPU)}.json"
    entry.parent.mkdir()
    entry.write_text("{")
    assert list(measured([config()], entry.parent).values()) == [Footprint(5, 0, 1.0)]
    assert json.loads(entry.read_text())["footprint"]["peak_bytes"] == 5


def test_after_a_probe_that_dies_or_hangs_a_new_process_continues(tmp_path, monkeypatch):
    fake_program(  # the worker: it dies on the first request it ever gets and hangs on the second
        tmp_path / "python",
        f"if [ ! -e {tmp_path}/first ]; then touch {tmp_path}/first; read line; exit 7; fi",
        f"if [ ! -e {tmp_path}/second ]; then touch {tmp_path}/second; read line; exec sleep 60; fi",
        GOOD_ANSWER,
    )
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    three = [config(model__attention=attention) for attention in ("none", "mhsa", "performer")]
    found = list(measured(three, tmp_path / "kept", limit_s=1.0).values())
    assert found == [
        "the probe's process ended with code 7",
        "the probe was killed: it took longer than 1 s, or the machine's memory ran out",
        Footprint(5, 0, 1.0),
    ]


def answers_of(program, requests):
    """Write a worker that answers batch size b with 100 + 10 b bytes and b seconds, and keeps its requests."""
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "for line in sys.stdin:\n"
        "    size = json.loads(line)['config']['optim']['batch_size']\n"
        f"    print(size, file=open({str(requests)!r}, 'a'))\n"
        "    fits = size < 100\n"
        "    answer = dict(peak_bytes=100 + 10 * size, context_bytes=7, step_s=size, fits=fits)\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("sizes", "requested", "expected"),
    [
        ((16, 64, 32), [16, 64], {16: 260, 64: 740, 32: 420}),
        ((8,), [8], {8: 180}),
        ((16, 32, 64, 128), [16, 128, 32, 64], {16: 260, 128: 1380, 32: 420, 64: 740}),  # 128 does not fit
    ],
)
def test_of_one_architecture_the_ends_are_probed_and_what_lies_between_is_interpolated(
    tmp_path, monkeypatch, sizes, requested, expected
):
    answers_of(tmp_path / "python", tmp_path / "requests")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    configs = [config(optim__batch_size=size) for size in sizes]
    found = measured(configs, tmp_path / "kept")
    assert list(map(int, (tmp_path / "requests").read_text().split())) == requested
    by_size = {size: found[footprint_key(config(optim__batch_size=size), SHAPES, CPU)] for size in sizes}
    assert {size: footprint.peak_bytes for size, footprint in by_size.items()} == expected
    assert {size: footprint.step_s for size, footprint in by_size.items()} == {size: size for size in sizes}


def test_configurations_that_differ_in_more_than_the_batch_are_probed_each(tmp_path, monkeypatch):
    answers_of(tmp_path / "python", tmp_path / "requests")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    attentions = [config(model__attention=name, optim__batch_size=4) for name in ("none", "mhsa", "performer")]
    measured(attentions, tmp_path / "kept")
    assert (tmp_path / "requests").read_text().split() == ["4"] * 3


def test_between_two_batches_nothing_is_below_the_smaller_one():
    low, high = Footprint(900, 10, 0.5), Footprint(800, 30, 0.4)
    assert interpolated({16: low, 64: high}, 32) == Footprint(900, 30, 0.5)


def test_a_process_whose_gpu_failed_is_replaced(tmp_path, monkeypatch):
    lost = """while read line; do echo '{"error": "RuntimeError: CUDA error", "lost": true}'; done"""
    fake_program(tmp_path / "python", f"echo $$ >> {tmp_path}/started", lost)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    found = measured([config(optim__batch_size=size) for size in (1, 2)], tmp_path / "kept")
    assert list(found.values()) == ["RuntimeError: CUDA error"] * 2
    assert len((tmp_path / "started").read_text().split()) == 2


def test_the_key_depends_only_on_what_memory_and_time_depend_on():
    def key(shapes=SHAPES, **changes):
        return footprint_key(config(**changes), shapes, CPU)

    same = {"optim__learning_rate": 0.01, "distill__temperature": 2.0, "model__dropout": 0.3, "train__epochs": 9}
    assert {key(**{name: value}) for name, value in same.items()} == {key()}
    different = {
        "model__backbone": "lcnet_050", "model__attention": "mhsa", "optim__batch_size": 5, "train__precision": "bf16",
        "train__threads": 2,
    }  # fmt: skip
    keys = {key(**{name: value}) for name, value in different.items()} | {
        key(Shapes("chestxray14", "multilabel", InputSpec("image", (64, 64)), (3,), 8))
    }
    assert len(keys) == 6 and key() not in keys


def test_a_probed_run_is_short_and_needs_neither_teacher_nor_network():
    requested = config(distill__alpha=0.7, model__pretrained=True, data__augmentation="strong", train__epochs=50)
    requested = requested.override({"optim.warmup_epochs": 5}, source="test")
    probed = probe_config(requested)
    assert probed.distill.alpha == 0 and not probed.model.pretrained and probed.train.epochs == 2
    assert probed.optim.batch_size == requested.optim.batch_size


STACKS = {"model__architecture": "slices", "model__num_slices": 3}
LINES = {"model__architecture": "lines", "model__width": 16}


@pytest.mark.parametrize(
    ("task", "kind", "spec", "targets", "overrides"),
    [
        ("lumbar_spine", "ordinal", InputSpec("slices", (3, 24, 24, 3), "|u1", ("level",), (1,)), (3,), STACKS),
        ("stm_scanlines", "multiclass", InputSpec("lines", (8, 32), "<f2"), (8, 4), LINES),
        ("images", "multiclass", InputSpec("image", (32, 32, 3)), (5,), {}),
    ],
)  # fmt: skip
def test_synthetic_data_of_every_kind_trains(task, kind, spec, targets, overrides):
    class_loss = {"loss__name": "cross_entropy", "model__layers": 1, "model__ffn_width": 16}
    shapes = Shapes(task, kind, spec, targets, 6)
    step_s = probe_worker.trained_step_s(probe_config(config(**class_loss, **overrides)), shapes, CPU)
    assert step_s > 0


def test_shapes_are_those_of_the_data(tiny_dataset):
    shapes = Shapes.of(tiny_dataset, "chestxray14", "multilabel", CPU)
    assert shapes == Shapes("chestxray14", "multilabel", InputSpec("image", (32, 32)), (3,), 30)
    assert Shapes.from_json(json.loads(json.dumps(asdict(shapes)))) == shapes


@pytest.mark.parametrize("num_val", [3, 700, 20_000])
@pytest.mark.parametrize("spec", [InputSpec("image", (32, 32)), InputSpec("slices", (16, 24, 24, 3))])
@pytest.mark.parametrize("device", [CPU, Device(torch.device("cuda"), None)], ids=["cpu", "cuda"])
def test_a_probe_validates_in_batches_as_large_as_a_trial_s(num_val, spec, device):
    def largest(num):
        return max(batch.stop - batch.start for batch in evaluation_batches(num, spec, device))

    data = SimpleNamespace(part=lambda name: range(num_val), input_spec=spec, targets=np.zeros((num_val, 3)))
    probed = Shapes.of(data, "chestxray14", "multilabel", device).num_val
    assert largest(probed) == largest(num_val) and probed <= 3 * largest(num_val)


def test_synthetic_data_stays_in_range(tmp_path):
    spec = InputSpec("slices", (3, 8, 8, 3), "|u1", ("level",), (4,))
    made = Shapes("lumbar_spine", "ordinal", spec, (3,), 20).make(tmp_path, 12)
    assert isinstance(made, Dataset)
    assert made.auxiliary.min() == 0 and made.auxiliary.max() == 4
    assert (made.targets.sum(axis=1) == 1).all() and len(made.part("train")) == 12 and len(made.part("val")) == 20
    assert made.open_pixels()[made.rows].shape == (32, 3, 8, 8, 3)
    assert np.isfinite(made.targets).all()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"before": 900 * MIB, "after": 1500 * MIB, "reserved": 100 * MIB, "in_use": 1700 * MIB}, 500 * MIB),
        ({"before": None, "after": None, "reserved": 100 * MIB, "in_use": 600 * MIB}, 500 * MIB),
        ({"before": 0, "after": None, "reserved": 0, "in_use": 400 * MIB}, 400 * MIB),
        (
            {"before": None, "after": None, "reserved": 0, "in_use": 9000 * MIB},
            TYPICAL_CONTEXT_BYTES,
        ),  # another process
        ({"before": 900 * MIB, "after": 300 * MIB, "reserved": 0, "in_use": 300 * MIB}, TYPICAL_CONTEXT_BYTES),
    ],
)
def test_the_context_is_memory_the_process_added_beyond_its_allocator(seen, expected):
    assert context_bytes(**seen) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU-a, 512'; echo 'GPU-b, 0'", {"GPU-a": 512 * MIB, "GPU-b": 0}),
        ("echo 'No devices were found'; exit 6", {}),
        ("echo 'GPU-a, [N/A]'", {}),
    ],
)
def test_nvidia_smi_s_output_is_parsed(tmp_path, monkeypatch, script, expected):
    fake_program(tmp_path / "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert used_by_uuid() == expected


def test_out_of_memory_is_a_footprint_that_does_not_fit(monkeypatch):
    def trains(*_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(probe_worker, "trained_step_s", trains)
    request = {"config": probe_config(config()).model_dump(), "shapes": asdict(SHAPES), "device": "cpu"}
    found = probe_worker.measure(json.loads(json.dumps(request)), {})
    assert not found.fits and found.peak_bytes > 0


def test_running_out_of_memory_is_not_cached(tmp_path, monkeypatch):
    fake_program(tmp_path / "python", GOOD_ANSWER.replace("true", "false"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert list(measured([config()], tmp_path / "kept").values()) == [Footprint(5, 0, 1.0, False)]
    assert not (tmp_path / "kept").exists()


def test_the_worker_ends_when_its_input_closes():
    """So a killed driver leaves no probe behind."""
    done = subprocess.run([sys.executable, "-m", "xlite.gpu.probe_worker"], stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 0
