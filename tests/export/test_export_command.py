"""`xlite export`: a package with a smaller graph, or a refusal that writes nothing."""

import json

import numpy as np
import pytest
from conftest import lay_out
from small_net import ground_of, images, small_net, write_net
from small_package import about_of

from xlite.commands import cli, export
from xlite.console import SilentConsole
from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url
from xlite.package.golden import self_test
from xlite.package.manifest import open_manifest, write_manifest
from xlite.package.predict import open_package
from xlite.storage.files import read_json, write_json


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command on the package p/ of a small network, in a study whose data is the small network's."""

    def run(*words: str, uneven: bool = False, golden: bool = True):
        model = small_net(uneven=uneven)
        ground = ground_of(tmp_path, model)
        if not (tmp_path / "p").exists():
            write_net(tmp_path / "p", model, golden=golden)
        write_json(tmp_path / "study.json", {})
        monkeypatch.setattr(export, "_ground", lambda *_: ground)
        with pytest.raises(SystemExit) as left:
            cli.run(export.run, export.parser(), ["--model", str(tmp_path / "p"), *words])
        return left.value.code, capsys.readouterr()

    return run


def test_an_8_bit_package_answers_nearly_the_same_and_passes_its_own_test(run, tmp_path) -> None:
    code, said = run("--int8", "--max-loss", "0.05")
    assert code == 0, said.err
    out = tmp_path / "p_int8"
    assert open_manifest(out).precision == "int8"
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md", "golden", "model.onnx", "package.json", "smaller.json"
    ]  # fmt: skip
    small, large = open_package(out), open_package(tmp_path / "p")
    probabilities = [each.session.run(["probabilities"], {"pixels": images(16)})[0] for each in (small, large)]
    assert 0 < np.abs(probabilities[0] - probabilities[1]).max() < 0.2
    result = self_test(small, out)
    assert result.passed and result.difference < 1e-6
    assert small.thresholds == large.thresholds
    assert "int8: " in said.out and "of 118 decisions on validation differ" in said.out


def test_the_card_says_what_the_smaller_model_was_measured_to_lose(run, tmp_path) -> None:
    run("--int8", "--max-loss", "0.05")
    card = (tmp_path / "p_int8" / "MODEL_CARD.md").read_text()
    assert card.startswith("# Model card\n") and "## This file is int8" in card
    assert "All results above are of the fp32 model" in card
    measured = json.loads((tmp_path / "p_int8" / "smaller.json").read_text())
    assert [each["name"] for each in measured["measured"]][:2] == ["fp32", "fp16"]
    assert measured["chosen"] in measured["measured"]
    assert {"1"} <= measured["chosen"]["latencies"].keys()
    assert str(tmp_path) not in json.dumps(measured) + card


def test_half_precision_is_a_package_of_about_half_the_size(run, tmp_path) -> None:
    code, said = run("--fp16")
    assert code == 0, said.err
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("p_fp16", "p")]
    assert sizes[0] < 0.65 * sizes[1]
    assert open_package(tmp_path / "p_fp16").about.precision == "fp16"


def test_graphs_are_judged_on_validation_of_the_study_that_promoted_the_package(tmp_path) -> None:
    home = lay_out("study_stm", tmp_path / "home")
    study = home / "results" / "stm"
    with Ledger.open(sqlite_url(study / "study.db"), "stm", create=False) as ledger:
        (identity,) = {row.promotion.identity for row in ledger.finals()}
        reads = ledger.test_reads()
    words = ["--int8", "--model", str(study / "promoted"), "--cache-dir", str(tmp_path / "cache")]
    arguments = export.parser().parse_args(words)
    ground = export._ground(study, about_of(promotion=identity), arguments, SilentConsole())
    validation = read_json(study / "promoted" / "metrics.json")["validation"]["per_label"]
    positives = {label: values["num_positive"] for label, values in validation.items()}
    assert dict(zip(ground.dataset.labels, np.nansum(ground.targets, axis=(0, 1)), strict=True)) == positives
    with Ledger.open(sqlite_url(study / "study.db"), "stm", create=False) as ledger:
        assert ledger.test_reads() == reads
    with pytest.raises(InputError, match="was not promoted in study stm; name its own with --study"):
        export._ground(study, about_of(promotion="0" * 16), arguments, SilentConsole())


def test_too_large_a_loss_is_refused_with_the_table_and_nothing_is_written(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("xlite.export.choose.chosen", lambda *_: None)
    code, said = run("--int8")
    assert code == 1
    assert "per channel" in said.out and "Refused: auc_macro on validation is at least" in said.out
    assert "more than --max-loss 0.005; nothing was written" in said.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "pixels.npy", "study.json"]


def test_the_package_it_came_from_is_as_it_was(run, tmp_path) -> None:
    run("--fp16", "--out", str(tmp_path / "half"))
    open_manifest(tmp_path / "p")
    assert (tmp_path / "half" / "package.json").is_file()


def test_what_is_of_the_fp32_model_alone_or_of_the_user_is_not_in_the_smaller_package(run, tmp_path) -> None:
    def write(folder, *names):
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("{}")

    write_net(tmp_path / "p", small_net(), golden=False)
    write(tmp_path / "p", *(f"{name}.json" for name in ("model_1", "metrics", "curves", "reliability", "thresholds")))
    write(tmp_path / "p", "model_1.safetensors", "runtime/model.py")
    write_manifest(tmp_path / "p", open_manifest(tmp_path / "p"))
    write(tmp_path / "p", "predictions.csv", "golden/mine.png")
    assert run("--fp16")[0] == 0
    names = {path.relative_to(tmp_path / "p_fp16").as_posix() for path in (tmp_path / "p_fp16").rglob("*.*")}
    assert names == {
        *("MODEL_CARD.md", "model.onnx", "package.json", "smaller.json", "thresholds.json", "runtime/model.py")
    }


def test_an_earlier_result_is_replaced_and_anything_else_is_not(run, tmp_path) -> None:
    assert run("--fp16")[0] == 0
    assert run("--fp16")[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "p_fp16" / "predictions.csv").write_text("mine")
    code, said = run("--fp16")
    assert code == 2 and "predictions.csv there is not of the package" in said.err
    assert (tmp_path / "p_fp16" / "predictions.csv").read_text() == "mine"
    code, said = run("--fp16", "--out", str(tmp_path / "mine"))
    assert code == 2 and "mine: is there already; name another folder with --out" in said.err
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
