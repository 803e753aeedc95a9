"""What sections of the report say of a study, and what they do not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import lay_out
from made_up import promoted, write_study

from xlite.html_report import parameters
from xlite.html_report.data import _findings
from xlite.html_report.facts import Facts, read_facts
from xlite.html_report.looking import looking_section
from xlite.html_report.made import made_section, time_section
from xlite.html_report.model import model_sections
from xlite.html_report.model_charts import charts
from xlite.html_report.parts import Figure, Lines, Number, Section, Table
from xlite.html_report.search import asked_section, board_section
from xlite.html_report.write import _tiles
from xlite.ledger import best_of, knee_of
from xlite.metrics.curves import NONE
from xlite.tasks.target_spec import MULTILABEL


def table(section: Section, start: str) -> Table:
    (found,) = [block for block in section.blocks if isinstance(block, Table) and block.caption.startswith(start)]
    return found


def cells(of: Table, column: str) -> list[str]:
    at = of.columns.index(column)
    return [cell.text if isinstance(cell, Number) else cell for cell in (row[at] for row in of.rows)]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return read_facts(write_study(tmp_path_factory.mktemp("study") / "kd", 9))


def test_a_key_has_its_range_though_no_complete_trial_has_it(tmp_path: Path) -> None:
    varied = table(asked_section(read_facts(write_study(tmp_path / "kd", 2, failing=True))), "What the trials varied")
    assert "0.0001 to 0.01, logarithmic" in cells(varied, "searched") and "" not in cells(varied, "searched")


def test_the_best_trial_has_no_value_of_a_key_that_it_did_not_use(facts: Facts) -> None:
    best = best_of(facts.study.rows)
    assert best is not None
    used = {key: value for key, value in best.overrides.items() if key != "loss.focal_gamma"}
    rows = tuple(replace(row, overrides=used) if row is best else row for row in facts.study.rows)
    study = replace(facts.study, rows=rows, base={"loss.focal_gamma": 2.0})
    varied = table(asked_section(replace(facts, study=study)), "What the trials varied")
    assert dict(zip(cells(varied, "key"), cells(varied, "best trial"), strict=True))["loss.focal_gamma"] == ""


def test_fronts_are_whole_numbers_and_the_knee_is_named(tmp_path: Path) -> None:
    objectives = ("auc_macro:max", "params:min", "latency_ms:min")
    found = read_facts(write_study(tmp_path / "kd", 5, objectives=objectives))
    board = table(board_section(found), "5 rows")
    assert "1" in cells(board, "front") and all("." not in cell for cell in cells(board, "front"))
    assert all("." not in cell for cell in cells(board, "params")) and cells(board, "knee").count("knee") == 1
    assert "complete" in board.states and "completed" not in board.states


def test_parameters_beyond_the_axes_are_counted_and_the_important_ones_come_first(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "_MAX_AXES", 3)
    figure = parameters._parallel(facts, ["optim.learning_rate", "model.dropout"])
    assert figure is not None and figure.title == "3 of 9 parameters together, the most important first"
    assert list(figure.layout["xaxis"]["ticktext"])[:2] == ["optim.<br>learning_rate", "model.<br>dropout"]


def with_package(folder: Path, *, labels: tuple[str, ...] = ("a", "b")) -> Facts:
    promoted(folder, labels)
    return read_facts(folder)


def test_a_score_that_is_not_defined_is_told_so(tmp_path: Path) -> None:
    found = with_package(write_study(tmp_path / "kd", 1))
    (package,) = found.packages
    test = {**package.metrics["test"], "metrics": {"auc_macro": None}, "interval_95": [None, None]}
    found = replace(found, packages=(replace(package, metrics={**package.metrics, "test": test}),))
    (section,) = model_sections(found)
    assert section.says[0] == "auc_macro undefined on test (no 95% interval is claimed)."
    assert ("promoted, test auc_macro", "undefined", "no interval claimed") in _tiles(found)
    assert table(section, "From search to test").caption == "From search to test: auc_macro", "it begins with training"


def test_of_a_promoted_front_the_knee_is_shown_by_its_number(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "kd", 5, objectives=("auc_macro:max", "size_mb:min"))
    promoted(folder, ("a",))
    study = read_facts(folder).study
    knee = knee_of(study.rows, study.objectives)
    assert knee is not None and knee.number > 0
    (folder / "promoted").rename(folder / "one")
    for number in (0, knee.number):
        shutil.copytree(folder / "one", folder / "promoted" / f"{number:05d}")
    found = read_facts(folder)
    assert found.package is not None and found.package.trial == f", trial {knee.number}"
    assert f"promoted, trial {knee.number}, test auc_macro" in [title for title, _, _ in _tiles(found)]


def test_a_model_that_cannot_be_opened_is_one_line_of_the_report(tmp_path: Path) -> None:
    (package,) = with_package(write_study(tmp_path / "kd", 1)).packages
    prepared = SimpleNamespace(task=SimpleNamespace(target_spec=MULTILABEL))
    section = looking_section(package, prepared)  # type: ignore[arg-type]
    assert not section.blocks and len(section.says) == 1
    assert isinstance(section.says[0], str) and section.says[0].startswith("The model cannot be opened: ")


def figures(found: Facts) -> dict[str, Figure]:
    return {figure.title: figure for figure in charts(found.packages[0])}


def test_independent_labels_are_decided_together_and_classes_are_taken_for_another(tmp_path: Path) -> None:
    labels = (*(f"label {i}" for i in range(12)), NONE)
    independent = figures(with_package(write_study(tmp_path / "a", 1), labels=labels))
    assert "Confusion matrix" not in independent and "may truly have both" in independent["Decided together"].says
    lines = [(trace["line"]["color"], trace["line"]["dash"]) for trace in independent["ROC"].traces]
    assert len(lines) == 14 and len(set(lines)) == 14, "no two lines look the same"
    assert "Confusion matrix" in figures(with_package(write_study(tmp_path / "b", 1)))


def test_classes_that_are_called_by_numbers_are_names_to_plotly(tmp_path: Path) -> None:
    found = figures(with_package(write_study(tmp_path / "kd", 1), labels=("0", "1", "10")))
    confusion = found["Confusion matrix"].layout
    axes = (found["AUC of each label"].layout["yaxis"], confusion["xaxis"], confusion["yaxis"])
    assert [axis["type"] for axis in axes] == ["category"] * 3


def test_what_was_looked_for_in_the_data_is_what_is_said() -> None:
    nothing = {"missing": 0, "unusable": 0}
    (says,) = _findings({**nothing, "pictures": {}}, patients_are_known=True)
    assert says == "No file was left out, no picture is there twice, and none is almost the same in two parts."
    shared = {**nothing, "pictures": {"pictures_of_several_groups": 2, "near_sets_of_several_groups": 1}}
    assert _findings(shared, patients_are_known=True) == [
        "2 pictures of several patients or groups.",
        "1 set of almost identical pictures of several patients or groups.",
    ]
    assert _findings(shared, patients_are_known=False) == [says]


def test_commands_have_what_was_asked_for_and_nothing_that_was_not(tmp_path: Path) -> None:
    folder = lay_out("study_chest", tmp_path / "f") / "results" / "chest"
    stored = json.loads((folder / "study.json").read_text())
    stored["options"] |= {"grid_trials": None, "pretrained": "none", "teacher_files": ["/a b/t.csv", "/u.csv"]}
    stored["options"] |= {"teacher_weights": [1.0, 2.0], "teacher_answers": "logits", "allow_other_split": True}
    stored["request"]["allow_missing"] = True
    (folder / "study.json").write_text(json.dumps(stored))
    found = read_facts(folder)
    assert Path("/a b/t.csv") in found.places
    (lines,) = [block for block in made_section(found).blocks if isinstance(block, Lines)]
    tune, report = lines.text.split("\n")
    assert report == "xlite report --study chest" and "--trials" not in tune and "--thresholds" not in tune
    for asked in ("--pretrained none", "--teacher FILE FILE", "--teacher-weights 1.0 2.0", "--teacher-answers logits"):
        assert asked in tune
    assert "--allow-other-split --allow-missing" in tune and lines.title.startswith("Commands, shortened")
    (final,) = found.study.finals
    assert final.promotion is not None
    chosen = replace(final, promotion=replace(final.promotion, thresholds="youden"))
    untrained = replace(chosen, summary=replace(final.summary, seconds=0.0))
    found = replace(found, study=replace(found.study, finals=(untrained,)))
    (lines,) = [block for block in made_section(found).blocks if isinstance(block, Lines)]
    assert "--thresholds youden" in lines.text
    assert "promotions" not in cells(table(time_section(found), "Time"), "what")
