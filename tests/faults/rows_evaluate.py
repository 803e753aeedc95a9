"""Mistakes with `xlite evaluate`: no package, a damaged one, data that it cannot be judged on."""
# ruff: noqa: E501  (a table: a row a line)

from collections.abc import Callable
from pathlib import Path

from bad_inputs import TABLE, Given, Row, content, copy_of, given_all, nih_table

from xlite.storage.files import read_json, write_json


def package(change: Callable[[Path], object] = lambda folder: None, *, labels: tuple[str, ...] = ()) -> Given:
    """A promoted model of NIH's labels at 32 px in package/, without training; then `change` to that folder."""

    def given(home: Path) -> None:
        from xlite.config import ModelConfig
        from xlite.data.decode import ImagePreprocess
        from xlite.data.preprocess_registry import described
        from xlite.data.sources.nih import LABELS
        from xlite.models.artifact import save_artifact, state_copy
        from xlite.models.build import build_model

        names, folder = list(labels or LABELS), home / "package"
        weights = state_copy(build_model(ModelConfig(), num_labels=len(names), seed=0))
        about = {
            "task": "chestxray14",
            "target_kind": "multilabel",
            "labels": names,
            "in_channels": 1,
            "image_size": 32,
        }
        about |= {"model": ModelConfig().model_dump(), "preprocess": described(ImagePreprocess(32))}
        save_artifact(folder, "model", weights, about)
        write_json(folder / "metrics.json", {"models": ["model.safetensors"], "test": {}})
        write_json(folder / "thresholds.json", {"thresholds": dict.fromkeys(names, 0.5)})
        change(folder)

    return given


def model_json(**changes: object) -> Callable[[Path], object]:
    """The model's description changed."""

    def change(folder: Path) -> None:
        file = folder / "model.json"
        values = {**read_json(file), **changes}
        write_json(file, {key: value for key, value in values.items() if value is not None})

    return change


def constant(finding: str) -> Given:
    """Every image of NIH's table has this finding."""

    def change(text: str) -> str:
        header, *rows = text.splitlines()
        cells = [row.split(",") for row in rows]
        return "\n".join([header, *(",".join([row[0], finding, *row[2:]]) for row in cells)])

    return nih_table(change)


# fmt: off
EVALUATE = [
    Row("evaluate-no-data", "evaluate", "--data {home}/none", r"--data .*/none: no such folder", package()),
    Row("evaluate-data-file", "evaluate", "--data {home}/nih/" + TABLE.removeprefix("nih/"), r"is a file, not a folder", package()),
    Row("evaluate-no-model", "evaluate", "--model {home}/none", r"--model .*/none: no such folder; give a study's promoted/", shell=True),
    Row("evaluate-no-package", "evaluate", "--model {home}/nih", r"no promoted model \(metrics.json\) is in that folder"),
    Row("evaluate-front", "evaluate", "--model {home}/results", r"the members of a front are in it; name one of a", content("results/a/metrics.json", "{}")),
    Row("evaluate-no-models", "evaluate", "--model {home}/p", r"metrics.json: it names no models or has no test part; promote again", content("p/metrics.json", "{}")),
    Row("evaluate-cut-metrics", "evaluate", "--model {home}/p", r"metrics.json", content("p/metrics.json", '{"models": [')),
    Row("evaluate-no-weights", "evaluate", "", r"model.safetensors: no such file, though model.json is there", package(lambda folder: (folder / "model.safetensors").unlink())),
    Row("evaluate-changed-weights", "evaluate", "", r"damaged, or not the weights that model.json describes", package(lambda folder: (folder / "model.safetensors").write_bytes(b"x"))),
    Row("evaluate-no-task", "evaluate", "", r"its description lacks 'task'; promote again", package(model_json(task=None))),
    Row("evaluate-newer-inputs", "evaluate", "", r"its inputs were made by version 9 of ImagePreprocess", package(model_json(preprocess={"kind": "ImagePreprocess", "image_size": 32, "version": 9}))),
    Row("evaluate-other-thresholds", "evaluate", "", r"thresholds.json: it is of other weights than those beside it", package(lambda folder: write_json(folder / "thresholds.json", {"weights": {"model.safetensors": "0"}, "thresholds": {}}))),
    Row("evaluate-other-labels", "evaluate", "--task images --data {home}/images", r"no label of the data \(ill\) is one of the model's \(Atelectasis, .* and 6 more\)", given_all(package(), copy_of("images"))),
    Row("evaluate-other-kind", "evaluate", "--task stm_scanlines --data {home}/stm", r"no label of the data \(clean", given_all(package(), copy_of("stm"))),
    Row("evaluate-task", "evaluate", "--task brain", r"--task brain: known tasks are", package()),
    Row("evaluate-columns", "evaluate", "--label-column x", r"task chestxray14 reads fixed columns; leave it out", package()),
    Row("evaluate-part-word", "evaluate", "--part held_out", r"--part: invalid choice: 'held_out'"),
    Row("evaluate-no-lists", "evaluate", "--part test", r"--part test: .*nih has no such part, it came with no lists of parts; leave --part out", package()),
    Row("evaluate-no-column", "evaluate", "--subgroup scanner", r"--subgroup scanner: no table in .*nih has such a column; there are ", package()),
    Row("evaluate-one-group", "evaluate", "--subgroup view", r"--subgroup view: all images are 'PA' in 'View Position'", package()),
    Row("evaluate-no-finding", "evaluate", "", r"no image has any of the 14 findings", given_all(package(), constant("No Finding"))),
    Row("evaluate-one-class", "evaluate", "", r"nih: no label has both a positive and a negative among the 60 rows", given_all(package(), constant("Effusion"))),
    Row("evaluate-out-file", "evaluate", "--out {home}/" + TABLE, r"is a file, not a folder", package()),
    Row("evaluate-hashes", "evaluate", "", r"seen_pictures.npy: not the hashes of pictures .*; package the model again", package(lambda folder: (folder / "seen_pictures.npy").write_bytes(b"no"))),
]
