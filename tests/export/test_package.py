"""Packages of promoted studies: whole or none, with a test of their own, and no path or id in what is read."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import lay_out, read_json

from xlite.commands import evaluate, explain, package
from xlite.commands.cli import run as run_command
from xlite.data.table import Item
from xlite.errors import InputError
from xlite.export import package as writing
from xlite.export.card import card_text, write_card
from xlite.export.card_parts import data_text
from xlite.export.deliver import copy_package, zip_package
from xlite.export.facts import Measured, StudyFacts
from xlite.export.golden import RawExample, write_golden
from xlite.export.use import use_text
from xlite.ledger import open_to_read
from xlite.package.golden import golden_source, self_test
from xlite.package.manifest import foreign_files, is_package, open_manifest, packaged_files
from xlite.package.predict import open_package
from xlite.predictor import load

FACTS = StudyFacts(
    "s", "findings", False, {"train": (9, 3)}, {}, 0, "patient", "h", "h", 0,
    "", "kd", {"complete": 1}, 0.1, None, None, 1, {},
)  # fmt: skip
SUBSTITUTE = "<script>alert(1)</script> | `x` [a](b)\n# =cmd"


def packaged(home, *more):
    """The exit code of `xlite package`."""
    words = ["--study", "stm", "--results", str(home / "results"), "--cache-dir", str(home / "cache"), *more]
    with pytest.raises(SystemExit) as left:
        run_command(package.run, package.parser(), words)
    return left.value.code


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A study of an earlier version, packaged now."""
    folder = lay_out("study_stm", tmp_path_factory.mktemp("older") / "home")
    assert packaged(folder, "--zip") == 0
    return folder


@pytest.fixture
def promoted(home, tmp_path):
    """A copy of its package."""
    return shutil.copytree(home / "results" / "stm" / "promoted", tmp_path / "promoted")


def reads(home):
    with open_to_read(home / "results" / "stm", None) as ledger:
        return len(ledger.test_reads())


def test_an_older_study_gets_a_package_that_answers_as_its_models(home, promoted):
    predictor, reference = open_package(promoted), load(promoted, device="cpu")
    result = self_test(predictor, promoted)
    assert result.passed and result.num_inputs == 8
    scan = next((home / "data" / "scans").iterdir())
    told, wanted = predictor.predict(scan), reference.predict(scan)
    assert len(told) == len(wanted)
    for ours, theirs in zip(told, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert {file.name for file in promoted.iterdir()} >= {
        *("model.onnx", "model.safetensors", "model.json", "metrics.json", "thresholds.json", "golden", "runtime"),
        *("predict.py", "requirements.txt", "MODEL_CARD.md", "USE.md", "package.json"),
    }


def test_packaging_does_not_read_the_test_part(home):
    assert reads(home) == 1


def test_card_and_instructions_have_no_path_and_no_id(home, promoted):
    ids = {file.stem for file in (home / "data" / "scans").iterdir()}
    groups = {row.rsplit(",", 1)[1] for row in (home / "data" / "lines.csv").read_text().splitlines()[1:]}
    for name in ("MODEL_CARD.md", "USE.md"):
        text = (promoted / name).read_text()
        assert str(home) not in text and "/home" not in text
        assert not [known for known in ids | groups if known in text]
    card = (promoted / "MODEL_CARD.md").read_text()
    metrics = read_json(promoted / "metrics.json")
    low, high = metrics["test"]["interval_95"]
    score = metrics["test"]["metrics"][metrics["metric"]]
    assert f"**{score:.4f}** (95% interval {low:.4f} to {high:.4f})" in card
    assert "read 1 time so far" in card and card.count("for you to write") > 40
    assert [line for line in card.splitlines() if line.startswith("| 44 |")]
    assert "ms an example by PyTorch, on 1 thread of a CPU" in card


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ({}, "Whether copies of a picture are in two parts is not known."),
        ({"in_several_parts": 0, "near_sets": 0}, "Copies of a picture are never in two parts."),
        (
            {"in_several_parts": 4, "near_sets": 1},
            "Examples with a copy in another part: 4; sets of almost identical pictures that lie in several parts: 1.",
        ),
    ],
)
def test_the_card_says_whether_parts_share_pictures(pictures, said):
    facts = replace(FACTS, pictures=pictures)
    assert data_text(facts).endswith(f" {said}")


def test_the_card_says_by_image_where_no_patient_has_several():
    assert "The split is drawn by patient, stratified on the labels (seed 0)" in data_text(FACTS)
    alone = replace(FACTS, parts={"train": (9, 9), "test": (3, 3)})
    assert "The split is drawn by image, stratified on the labels (seed 0)" in data_text(alone)


def test_a_name_with_html_or_markdown_in_it_stays_text(promoted):
    about = open_manifest(promoted)
    label, other = SUBSTITUTE, about.labels[1:]
    text = json.dumps(read_json(promoted / "metrics.json")).replace(json.dumps(about.labels[0]), json.dumps(label))
    measured = Measured.read(promoted)
    measured = Measured(json.loads(text), measured.thresholds, measured.description, measured.onnx_bytes)
    about = SimpleNamespace(**{**vars(about), "labels": (label, *other)}, exclusive=True, input_spec=about.input_spec)
    facts = replace(
        FACTS, name=label, task_title=label, positives={"train": {label: (1, 9)}, "val": {}}, teacher=label, space=label
    )
    for page in (card_text(about, facts, measured), use_text(about, facts)):
        body = page.rpartition("---\n\n# ")[2]
        assert [line for line in body.splitlines() if "<script" in line] == []
        assert "`x`" not in body and "[a]" not in body and "\n# =cmd" not in body
        tables = [block for block in body.split("\n\n") if block.startswith("|")]
        for rows in (block.splitlines() for block in tables):
            assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_a_package_is_whole_or_none_and_the_same_command_completes_it(home, monkeypatch):
    promoted = home / "results" / "stm" / "promoted"
    before = open_manifest(promoted)

    def killed(*_):
        assert not is_package(promoted)
        raise KeyboardInterrupt

    for last in ("write_onnx", "write_golden", "write_card", "write_manifest"):
        with monkeypatch.context() as patch:
            patch.setattr(writing, last, killed)
            if last != "write_onnx":
                patch.setattr(writing, "write_onnx", lambda *_: shutil.copy(home / "results" / "model.onnx", promoted))
            else:
                shutil.copy(promoted / "model.onnx", home / "results" / "model.onnx")
            with pytest.raises(KeyboardInterrupt):
                packaged_in(home)
        assert not is_package(promoted) and not (promoted / "model.onnx").exists(), last
        assert (promoted / "model.safetensors").exists()
    assert packaged(home) == 0
    assert open_manifest(promoted) == before


def test_a_package_that_cannot_be_made_as_asked_leaves_the_one_there(home, monkeypatch, capsys):
    monkeypatch.setattr(writing, "has_phantom", lambda _: False)
    assert packaged(home, "--golden", "phantom") == 2 and "use --golden own" in capsys.readouterr().err
    assert open_package(home / "results" / "stm" / "promoted").labels


def test_inputs_of_ones_own_are_tested_with_all_their_files_and_integers(tmp_path):
    asked = []
    predictor = SimpleNamespace(
        preprocess=None,
        about=SimpleNamespace(input_spec=SimpleNamespace(auxiliary_max=(3,))),
        inputs=lambda *source: asked.append(source),
        rows=lambda inputs: [np.array([0.5])],
    )
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((4, 4), np.uint8))
    both = RawExample(Item((tmp_path / "a.png", tmp_path / "b.png")), (2,))
    write_golden(tmp_path, predictor, [both, RawExample(Item((tmp_path / "a.png",)), (1,))])
    copies = [tmp_path / "golden" / f"input_00{number}.png" for number in (1, 2)]
    assert asked == [(Item(tuple(copies)), (2,)), (copies[0], (1,))]
    stored = read_json(tmp_path / "golden" / "expected.json")["inputs"]
    assert [golden_source(tmp_path / "golden", one) for one in stored] == asked


def packaged_in(home):
    words = ["--study", "stm", "--results", str(home / "results"), "--cache-dir", str(home / "cache")]
    package.run(package.parser().parse_args(words))


def test_equal_packages_give_equal_zips_and_a_copy_is_a_package(promoted, tmp_path):
    for name in ("events.out.tfevents.1", "predictions.csv", "evaluation/x/predictions.csv", "data/cache/pixels.npy"):
        (promoted / name).parent.mkdir(parents=True, exist_ok=True)
        (promoted / name).write_bytes(b"x")
    first = zip_package(promoted, tmp_path / "z.zip")
    written = first.read_bytes()
    for file in promoted.rglob("*"):
        file.touch()
    assert zip_package(promoted, first).read_bytes() == written
    out = copy_package(promoted, tmp_path / "out")
    shutil.unpack_archive(first, tmp_path / "unpacked")
    assert open_manifest(tmp_path / "unpacked" / "z") == open_manifest(promoted) == open_package(out).about
    for copied in (out, tmp_path / "unpacked" / "z"):
        assert foreign_files(copied) == []
    copy_package(promoted, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "promoted", "unpacked", "z.zip"]
    (out / "predictions.csv").write_text("x")
    for place in (out, promoted):
        with pytest.raises(InputError, match=r" there is not of the package; move it, or name another folder"):
            copy_package(tmp_path / "unpacked" / "z", place)
    assert (out / "predictions.csv").exists() and (promoted / "model.safetensors").exists()


def test_a_model_beside_the_members_of_a_front_is_copied_beside_them_each_time(home, promoted, tmp_path, monkeypatch):
    place = shutil.copytree(home / "results" / "stm", tmp_path / "results" / "stm") / "promoted"
    shutil.copytree(promoted, place / "00003")
    monkeypatch.setattr(package, "write_and_tell", lambda *_, **__: None)
    monkeypatch.setattr("xlite.commands.reopen.reopen", lambda *_: SimpleNamespace(study=0, prepared=0, ledger=0))
    for _ in range(2):
        assert packaged(tmp_path, "--out", str(tmp_path / "out")) == 0
    assert sorted(one.name for one in (tmp_path / "out").iterdir() if is_package(one)) == ["stm", "stm-00003"]


def test_the_commands_of_the_instructions_run_as_they_stand_and_leave_the_package_as_it_was(
    home, promoted, monkeypatch
):
    before = foreign_files(promoted)

    def lines(head):
        return [line.split() for line in (promoted / "USE.md").read_text().splitlines() if line.startswith(head)]

    (_, *tested), (_, *predicted) = lines("python predict.py")
    places = [str(home / "data" / "scans") if word == "SCANS" else word for word in predicted]
    for words in (tested, places):
        done = subprocess.run([sys.executable, *words], cwd=promoted, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    with_xlite, explained, evaluated = lines("xlite ")
    assert with_xlite[2:] == [predicted[1], "--model", ".", *predicted[2:]]
    monkeypatch.chdir(promoted)
    drawn, judged = explain.parser().parse_args(explained[2:]), evaluate.parser().parse_args(evaluated[2:])
    explain.check_out(drawn.out.resolve(), [home / "data"], drawn.model)
    written = [place.resolve() for place in (drawn.out, judged.out, judged.cache_dir)]
    assert written == [promoted.parent / "explained", promoted.parent, promoted.parent / "cache"]
    assert (promoted.parent / "predictions.csv").is_file() and foreign_files(promoted) == before


def test_a_card_changed_by_hand_stays_until_another_model_is_promoted(promoted, monkeypatch):
    card, about = promoted / "MODEL_CARD.md", open_manifest(promoted)
    facts = SimpleNamespace()
    monkeypatch.setattr("xlite.export.card.card_text", lambda *_: "new\n")
    assert write_card(promoted, about, facts) == [] and card.read_text().startswith("new")
    card.write_text(card.read_text().replace("new", "my words"))
    (line,) = write_card(promoted, about, facts)
    assert "stays as it is" in line and card.read_text().startswith("my words")
    for promotion, name in (("another", "MODEL_CARD-before.md"), ("a third", "MODEL_CARD-before-2.md")):
        (line,) = write_card(promoted, SimpleNamespace(**{**vars(about), "promotion": promotion}), facts)
        assert f"it is {name} now" in line and card.read_text().startswith("new")
        assert "my words" in (promoted / name).read_text() and name not in packaged_files(promoted)
        card.write_text(card.read_text() + "my words, after the end\n")
    assert (promoted / "MODEL_CARD-before.md").read_text().startswith("my words")
    card.write_text("my own card\n")
    (line,) = write_card(promoted, about, facts)
    assert "stays as it is" in line and card.read_text() == "my own card\n"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("metrics.json", "{}", "metrics.json: it names no models; promote again"),
        ("metrics.json", '{"models": ', "metrics.json: not valid JSON"),
        ("model.safetensors", "cut", "model.safetensors: damaged, or not the weights that model.json describes"),
    ],
)
def test_a_damaged_promotion_is_one_line_and_no_package(file, text, words, home, promoted, capsys):
    place = home / "results" / "stm" / "promoted"
    (place / file).write_text(text)
    code, error = packaged(home), capsys.readouterr().err
    with pytest.raises(InputError):
        open_package(place)
    shutil.rmtree(place)
    shutil.copytree(promoted, place)
    assert code == 2 and words in error and error.count("\n") == 1
