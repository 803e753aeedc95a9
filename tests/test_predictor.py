"""A promoted model answers raw files with the very probabilities that promotion measured through the pixel cache."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

import xlite
from xlite.console import SilentConsole
from xlite.data.decode import read_picture
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.data.phantom.lumbar import write_lumbar_phantom
from xlite.data.phantom.stm import write_stm_phantom
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord, sqlite_url
from xlite.metrics.calibration import Calibration
from xlite.models.artifact import load_model
from xlite.promotion.promote import promote
from xlite.storage.files import read_json, write_json
from xlite.study.members import Member, folds
from xlite.tasks import TASKS
from xlite.tasks.defaults import base_config
from xlite.tasks.prepare import DataRequest, prepare
from xlite.train.inference import predict_logits

CPU = choose_device("fp32", kind="cpu")
SMALL_LINES = {"model.layers": 1, "model.width": 16, "model.ffn_width": 16, "data.image_size": 16}
SETTINGS = {
    "chestxray14": {"data.image_size": 32, "train.precision": "bf16"},
    "lumbar_spine": {"data.image_size": 24, "model.head": "coral", "loss.name": "coral"},
    "stm_scanlines": {**SMALL_LINES, "optim.warmup_epochs": 0},
    "images": {"data.image_size": 32},
}


def write_skin(folder):
    """Three classes of colour pictures of several sizes, PNG and JPEG."""
    rng = np.random.default_rng(0)
    for number in range(60):
        place = folder / ("naevus", "melanoma", "wart")[number % 3]
        picture = rng.integers(0, 90, (40 + number % 7, 44, 3), dtype=np.uint8)
        picture[..., number % 3] += 120
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.{'png' if number % 2 else 'jpg'}"), picture)


WRITE = {
    "chestxray14": lambda folder: write_phantom(folder, num_images=120, image_px=64),
    "lumbar_spine": lambda folder: write_lumbar_phantom(folder, num_studies=24, image_px=64),
    "stm_scanlines": lambda folder: write_stm_phantom(folder, num_scans=24, lines=40, points=32),
    "images": write_skin,
}


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """(task, number of models) -> its data prepared, and what was promoted after an epoch."""
    return cache(lambda name, num_models=1: promote_small(name, num_models, tmp_path_factory.mktemp(name)))


def promote_small(name, num_models, home):
    WRITE[name](home / "raw")
    options = {"max_epochs": 1, "seed": 0, "threads": 1, "settings": {"train.precision": "fp32", **SETTINGS[name]}}
    data = base_config(TASKS[name], "cpu", **options).data
    request = DataRequest(home / "raw", data, None, 0, "1", home / "cache", allow_missing=True)
    prepared = prepare(TASKS[name], request, SilentConsole())
    config = base_config(prepared.task, "cpu", **options)
    spec, whole = prepared.task.target_spec, prepared.full
    parts = [whole] if num_models == 1 else folds(whole, spec, num_models, seed=0)
    members = [Member(f"model_{number}", part, None) for number, part in enumerate(parts)]
    winner = TrialRecord(0, "search", "complete", 0.5)
    with Ledger.open(sqlite_url(home / "s.db"), "s", create=True) as ledger:
        result = promote(config, prepared.task, members, ledger, winner=winner, folder=home / "promoted")
    return prepared, result


def measured(prepared, result):
    """(N, ..., L) probabilities of the test part as promotion computed them, and its positions."""
    names = read_json(result.folder / "metrics.json")["models"]
    models = [CPU.move(load_model(result.folder / name)[0]) for name in names]
    dataset = prepared.full.unsealed()
    test = dataset.part("test")
    logits = np.mean([predict_logits(model, dataset, test, device=CPU) for model in models], axis=0)
    calibration = Calibration.from_json(read_json(result.folder / "thresholds.json")["calibration"])
    probabilities = calibration.apply(prepared.task.target_spec.probabilities(logits))
    evaluation = prepared.task.target_spec.judge(probabilities, dataset.targets[test], dataset.labels)
    kept = {name: value for name, value in result.test.scalars.items() if not name.endswith("_at_thresholds")}
    assert evaluation.scalars == kept  # so these are the ones that were measured
    return probabilities, test


@pytest.mark.parametrize(("name", "num_models"), [*((name, 1) for name in TASKS), ("lumbar_spine", 2)])
def test_raw_files_are_answered_as_promotion_measured_them(name, num_models, promoted):
    prepared, result = promoted(name, num_models)
    predictor = xlite.load(result.folder, device="cpu")
    expected, test = measured(prepared, result)
    table, dataset = prepared.table, prepared.full
    pixels = dataset.open_pixels()
    for row in test[:8]:  # bit-equal preprocessing
        np.testing.assert_array_equal(predictor.preprocess.read(table.items[row]), pixels[dataset.rows[row]])
    items = [table.items[row] for row in test]
    if prepared.task.name in ("chestxray14", "images"):
        items = [item.path for item in items]
    auxiliary = None if table.auxiliary is None else table.auxiliary[test].tolist()
    answers = predictor.predict_batch(items, auxiliary)
    for number, answer in enumerate(answers):
        lines = answer if isinstance(answer, list) else [answer]
        assert all(tuple(line) == dataset.labels for line in lines)
        given = np.array([list(line.values()) for line in lines])
        np.testing.assert_allclose(given, np.atleast_2d(expected[number])[: len(given)], rtol=0, atol=1e-6)
    assert predictor.predict(items[0], () if auxiliary is None else auxiliary[0]) == pytest.approx(answers[0], abs=1e-6)
    assert predictor.thresholds == result.thresholds and predictor.labels == dataset.labels


def test_what_is_promoted_is_judged_as_it_is_used_whatever_precision_trained_it(promoted):
    prepared, result = promoted("chestxray14")
    assert read_json(result.folder / "model_0.json")["config"]["train.precision"] == "bf16"
    predictor, labels, stored = xlite.load(result.folder, device="cpu"), prepared.full.labels, {}
    for part, positions in (("validation", prepared.full.part("val")), ("test", prepared.full.unsealed().part("test"))):
        answers = predictor.predict_batch([prepared.table.items[row].path for row in positions])
        given = np.array([[answer[label] for label in labels] for answer in answers])
        stored[part] = given, prepared.full.targets[positions]
        expected = read_json(result.folder / "metrics.json")[part]["metrics"]
        evaluation = prepared.task.target_spec.judge(*stored[part], labels)
        assert {name: round(value, 6) for name, value in evaluation.scalars.items()}.items() <= expected.items()
    thresholds, _ = prepared.task.target_spec.choose_thresholds(*stored["validation"], labels, method="f1")
    assert thresholds == predictor.thresholds


def test_a_scans_file_answers_for_every_line_once(promoted):
    prepared, result = promoted("stm_scanlines")
    expected, test = measured(prepared, result)
    predictor = xlite.load(result.folder, device="cpu")
    judged = np.isfinite(prepared.full.targets[test]).all(axis=2)
    seen = 0
    for path in {prepared.table.items[row].path for row in test}:
        lines = predictor.predict(path)
        assert len(lines) == 40  # in windows of 32 and, from line 8 on, of the last 32
        for number, row in enumerate(test):
            if prepared.table.items[row].path == path:
                start = int(prepared.table.ids[row].rpartition(":")[2])
                for line in np.flatnonzero(judged[number]):
                    given = list(lines[start + line].values())
                    np.testing.assert_allclose(given, expected[number, line], rtol=0, atol=1e-6)
                    seen += 1
    assert seen == judged.sum() > 0


@pytest.mark.parametrize("name", ["chestxray14", "images"])
def test_a_picture_as_an_array_is_answered_as_its_file(name, promoted):
    prepared, result = promoted(name)
    predictor = xlite.load(result.folder, device="cpu")
    path = prepared.table.items[0].path
    picture = read_picture(path, channels=predictor.preprocess.channels)
    assert predictor.predict(picture) == predictor.predict(str(path))
    wide = picture.astype(np.uint16) * 257  # 16 bits are scaled by their own minimum and maximum, as from a file
    assert cv2.imwrite(str(result.folder.parent / "wide.png"), wide[..., ::-1] if wide.ndim == 3 else wide)
    assert predictor.predict(wide) == predictor.predict(result.folder.parent / "wide.png")
    with pytest.raises(InputError, match=r"give \(H, W\) or \(H, W, 3\)"):
        predictor.predict(np.zeros(7))
    with pytest.raises(InputError, match=r"gone.png: cannot be read \(No such file"):
        predictor.predict(path.with_name("gone.png"))
    (result.folder.parent / "cut.png").write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"cut.png: "):
        predictor.predict(result.folder.parent / "cut.png")


def test_a_stack_needs_its_place_and_its_level(promoted):
    prepared, result = promoted("lumbar_spine")
    predictor = xlite.load(result.folder, device="cpu")
    item, level = prepared.table.items[0], prepared.table.auxiliary[0].tolist()
    stack = predictor.preprocess.read(item)
    assert predictor.predict(stack, level) == predictor.predict(item, level)
    for source, auxiliary, reason in (
        (item.path, level, "one slice is not an example"),
        (item, (), r"auxiliary=\(\): this model takes \(level\) of at most \(4,\)"),
        (item, (5,), r"auxiliary=\(5,\)"),
        (stack[:3], level, "give the preprocessed input"),
        (replace(item, paths=item.paths[:2]), level, "a stack of 2 slices; give 7"),
    ):
        with pytest.raises(InputError, match=reason):
            predictor.predict(source, auxiliary)


def test_a_trials_folder_or_a_file_is_one_model_and_anything_else_is_refused(promoted, tmp_path):
    _, result = promoted("images")
    file = next(iter(sorted(result.folder.glob("model_*.safetensors"))))
    for name in (file.name, file.with_suffix(".json").name):
        (tmp_path / name).write_bytes((result.folder / name).read_bytes())
    (tmp_path / "student.checkpoint-a.safetensors").write_bytes(b"not a model: no description lies beside it")
    whole, alone = xlite.load(tmp_path), xlite.load(tmp_path / file.name)
    assert whole.labels == alone.labels and whole.thresholds == alone.thresholds == {}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="one model is needed, there is none"):
        xlite.load(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file"):
        xlite.load(tmp_path / "gone.safetensors")
    description = read_json(tmp_path / file.with_suffix(".json").name)
    write_json(tmp_path / file.with_suffix(".json").name, {**description, "target_kind": "counts"})
    with pytest.raises(InputError, match=r"counts targets are not of this library"):
        xlite.load(tmp_path)


def test_importing_the_package_imports_nothing_slow():
    code = "import sys, xlite; assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        xlite.lode  # noqa: B018
