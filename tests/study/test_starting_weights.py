"""Which weights a study's models start from: as its space wishes where they can be had, later as it began."""

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import optuna
import pytest

import xlite.models.origins
from xlite.commands import train_baselines, train_teacher, tune_kd
from xlite.commands.starting_weights import run_defaults, study_defaults
from xlite.console import SilentConsole
from xlite.errors import InputError
from xlite.models import weight_sources
from xlite.storage.files import write_json
from xlite.study import starting_weights
from xlite.study.options import Study, StudyOptions
from xlite.study.plan import open_space
from xlite.study.probes import check_space
from xlite.study.starting_weights import study_origins, with_random_starts
from xlite.tasks import find_task

LITE0, OTHER = "tf_efficientnet_lite0", "resnet10t"
SPACE = f"""
BASELINE = {{"model.backbone": "{OTHER}", "model.pretrained": True, "optim.learning_rate": 1e-3}}
def space(trial):
    return {{"model.backbone": trial.suggest_categorical("model.backbone", ["{LITE0}", "{OTHER}"]),
            "model.pretrained": True,
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)}}
"""
GRID = f"""
CONFIGURATIONS = [{{"model.backbone": name, "model.pretrained": start, "optim.batch_size": 8}}
                  for name, start in (("{LITE0}", True), ("{OTHER}", True), ("lcnet_050", False))]
"""


def published(backbone: str) -> weight_sources.PublishedFile:
    """Weights of every backbone but the default teacher's."""
    if backbone == "densenet121":
        raise weight_sources.unavailable(backbone, "not here")
    return weight_sources.PublishedFile("package", Path(__file__), in_order=False)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are had from packages alone."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "https://hub.invalid/file")


def study_in(folder: Path, text: str = SPACE, **options) -> Study:
    (folder / "space.py").write_text(text)
    arguments = tune_kd.parser().parse_args(["--space", str(folder / "space.py"), "--max-epochs", "2"])
    asked = replace(tune_kd.resolve(arguments, "s", folder / "s", "cpu"), **options)
    task = find_task(asked.task)
    return Study(asked, task, asked.configure(task))


def began_with(study: Study, **settings) -> None:
    study.options.folder.mkdir(exist_ok=True)
    write_json(study.options.folder / "study.json", {"meaning": settings})


def test_on_a_cpu_trials_without_published_weights_start_at_random_and_say_so(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    space, configs = open_space(study)
    study = replace(study, origins=study_origins(study, configs))
    assert study.origins[OTHER] is None and study.origins[LITE0].source == weight_sources.PACKAGES[LITE0]
    space = with_random_starts(space, study)
    assert space.first[0]["model.pretrained"] is False
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    chosen = [space.propose(sampled.ask()) for _ in range(20)]
    assert {each["model.backbone"]: each["model.pretrained"] for each in chosen} == {LITE0: True, OTHER: False}
    assert check_space(space, study.base)  # BASELINE too is in it


def test_a_grid_falls_back_configuration_by_configuration(tmp_path: Path) -> None:
    study = study_in(tmp_path, GRID)
    space, configs = open_space(study)
    study = replace(study, origins=study_origins(study, configs))
    configs = check_space(with_random_starts(space, study), study.base)
    starts = {config.model.backbone: config.model.pretrained for config in configs}
    assert starts == {LITE0: True, OTHER: False, "lcnet_050": False}


def test_yes_and_no_are_stronger_than_space_and_defaults_and_hold_for_the_teacher_too(tmp_path: Path) -> None:
    never = study_in(tmp_path, pretrained="no")
    space, configs = open_space(never)
    assert not any(config.model.pretrained for config in configs) and study_origins(never, configs) == {}
    always = study_in(tmp_path, SPACE.replace("True", "False").replace(OTHER, LITE0), pretrained="yes")
    space, configs = open_space(always)
    assert all(config.model.pretrained for config in configs) and always.teacher_config().model.pretrained
    assert space.first[0]["model.pretrained"] is True
    with pytest.raises(InputError, match=rf"backbone={OTHER}: pretrained weights are unavailable"):
        study_origins(always, [always.base.override({"model.backbone": OTHER}, source="test")])
    teachers = [study_in(tmp_path, defaults="cuda", pretrained=word).teacher_config() for word in ("auto", "no")]
    assert [teacher.model.pretrained for teacher in teachers] == [True, False]


def test_a_file_of_ones_own_is_the_students_alone_and_needs_no_other_setting(tmp_path: Path) -> None:
    study = study_in(tmp_path, defaults="cuda", settings={"model.weights": "w.pth", "model.backbone": LITE0})
    _, configs = open_space(study)
    assert {(config.model.weights, config.model.pretrained) for config in configs} == {("w.pth", False)}
    teacher = study.teacher_config().model
    assert (teacher.backbone, teacher.weights, teacher.pretrained) == ("densenet121", None, True)


def test_on_a_gpu_missing_weights_are_an_error_for_the_teacher_as_well(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(starting_weights, "device_kind", lambda: "cuda")
    study = study_in(tmp_path, defaults="cuda")
    distilled = study.base.override({"distill.alpha": 0.5}, source="test")
    with pytest.raises(InputError, match=r"backbone=densenet121: pretrained weights are unavailable .*--pretrained no"):
        study_origins(study, [distilled])
    random = replace(study, origins={"densenet121": None})
    assert study.teacher_config().model.pretrained and not random.teacher_config().model.pretrained


@pytest.mark.parametrize("task", ["chestxray14", "images"])
def test_on_a_gpu_missing_weights_of_the_default_teacher_end_every_command_before_data(task, tmp_path, monkeypatch):
    for module in ("device", "study.options", "study.starting_weights"):
        monkeypatch.setattr(f"xlite.{module}.device_kind", lambda: "cuda")
    for command in (tune_kd, train_baselines, train_teacher):
        monkeypatch.setattr(command, "open_configured", None)  # which reads the data
    monkeypatch.setattr(xlite.models.origins, "find_published", lambda backbone, source=None: published(backbone))
    (tmp_path / "kd.py").write_text(GRID.replace('"optim.batch_size": 8', '"distill.alpha": 0.5'))
    data = ["--task", task, "--data", str(tmp_path), "--cache-dir", str(tmp_path / "c")]
    study = [*data, "--results", str(tmp_path / "r"), "--space", str(tmp_path / "kd.py")]
    for command, arguments in ((tune_kd, study), (train_baselines, study), (train_teacher, data)):
        with pytest.raises(InputError, match=r"backbone=densenet121: pretrained weights are unavailable") as refused:
            command.run(command.parser().parse_args(arguments))
        assert "\n" not in str(refused.value)


def test_a_study_continues_with_what_it_recorded(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    _, configs = open_space(study)
    began_with(study, weights={LITE0: "random", OTHER: "random"})
    assert study_origins(study, configs) == {LITE0: None, OTHER: None}
    began_with(study, weights={LITE0: {"source": weight_sources.PACKAGES[LITE0], "sha256": "0" * 64}, OTHER: "random"})
    with pytest.raises(InputError, match=r"these weights have changed \(SHA-256 was 0000"):
        study_origins(study, configs)
    began_with(study, weights={LITE0: {"source": "huggingface.co/timm/elsewhere", "sha256": "0"}})
    with pytest.raises(InputError, match=r"its weights were those of huggingface.co/timm/elsewhere, which are gone"):
        study_origins(study, configs)
    began_with(study, weights=[3])
    with pytest.raises(InputError, match=r"study.json: its record of weights is damaged"):
        study_origins(study, configs)


def test_a_study_of_an_earlier_version_goes_on_without_a_record(tmp_path: Path) -> None:
    study = study_in(tmp_path, GRID.replace(OTHER, LITE0))
    began_with(study, seed=42)
    assert study_origins(study, open_space(study)[1]) is None
    study = study_in(tmp_path)
    with pytest.raises(InputError, match=rf"backbone={OTHER}: pretrained weights are unavailable"):
        study_origins(study, open_space(study)[1])  # it never started from random ones instead


def test_own_data_on_a_cpu_follow_the_pretrained_defaults_where_there_are_weights(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xlite.device.device_kind", lambda: "cpu")
    monkeypatch.setattr(tune_kd, "study_defaults", study_defaults)
    chest, lumbar, said = find_task("chestxray14"), find_task("lumbar_spine"), []
    console = SilentConsole()
    console.say = said.append  # type: ignore[method-assign]

    def kind(*words: str, task=chest, folder: Path = tmp_path / "none") -> str:
        return study_defaults(tune_kd.parser().parse_args([*words]), task, folder, console)

    data = ("--data", str(tmp_path))
    assert (kind(*data), kind(), kind(*data, "--pretrained", "no")) == ("cpu_pretrained", "cpu", "cpu")
    assert (kind(*data, "--space", "kd_cpu"), kind(*data, task=lumbar)) == ("cpu", "cpu")
    assert said == []
    options = tune_kd.resolve(tune_kd.parser().parse_args([*data]), "s", tmp_path, "cpu_pretrained")
    base = options.configure(chest)
    assert (options.space.name, options.defaults, base.data.image_size) == ("kd_lite_cpu.py", "cpu_pretrained", 160)
    began = tmp_path / "began"
    for recorded in ({"defaults": "cpu_pretrained"}, {}):
        began.mkdir(exist_ok=True)
        write_json(began / "study.json", {"options": recorded})
        assert kind(*data, folder=began) == recorded.get("defaults", "cpu")
    monkeypatch.setattr(weight_sources, "PACKAGES", {})
    assert (kind(*data), kind(*data, "--pretrained", "yes")) == ("cpu", "cpu_pretrained")
    assert len(said) == 1 and "No pretrained weights here" in said[0]
    one = tune_kd.parser().parse_args([*data])
    assert run_defaults(one, chest, None, backbone=LITE0) == "cpu"


def test_options_of_a_study_default_to_those_of_earlier_versions() -> None:
    fields = StudyOptions.__dataclass_fields__
    assert (fields["pretrained"].default, fields["defaults"].default) == ("auto", None)
