"""What a run and a teacher are known by holds the weights that they start from, and for random ones nothing new."""

import pytest
from safetensors.torch import save_file

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.models.build import build_model
from xlite.models.origins import Origin, find_origins
from xlite.tasks import find_task
from xlite.train.run import TrainingRun
from xlite.train.teacher import train_teacher

OLD_KEYS = {"config", "data", "split", "bank", "num_views", "device"}
ONE, TWO = Origin("hub", "1" * 64), Origin("package", "2" * 64)


def identity(dataset, origins, **model):
    config = RunConfig().override({f"model.{key}": value for key, value in model.items()}, source="test")
    run = TrainingRun(config, find_task("chestxray14"), dataset, choose_device("fp32", kind="cpu"), origins=origins)
    return run.identity()


def test_other_weights_are_another_run(tiny_dataset) -> None:
    name = "mobilenetv3_small_050"
    first, second = (identity(tiny_dataset, {name: origin}, pretrained=True) for origin in (ONE, TWO))
    assert first["weights"] == "1" * 64 and first != second and first.keys() - OLD_KEYS == {"weights"}
    own = identity(tiny_dataset, {"w.pth": ONE, name: TWO}, weights="w.pth")
    assert own["weights"] == "1" * 64


@pytest.mark.parametrize("origins", [None, {}, {"mobilenetv3_small_050": ONE}])
def test_a_run_from_random_weights_is_known_as_before(tiny_dataset, origins) -> None:
    assert identity(tiny_dataset, origins).keys() == OLD_KEYS
    assert identity(tiny_dataset, None, pretrained=True).keys() == OLD_KEYS  # in a study that recorded none


def test_another_normalisation_is_another_run(tiny_dataset) -> None:
    found = identity(tiny_dataset, None, pretrained=True, backbone="tf_efficientnet_lite0")
    assert found["normalise"] == {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def test_a_teacher_is_trained_again_from_other_weights_and_only_then(tiny_dataset, tmp_path) -> None:
    weights = tmp_path / "w.safetensors"
    changes = {"model.weights": str(weights), "train.epochs": 1, "optim.batch_size": 64}
    config = RunConfig().override(changes, source="test")

    def made(seed: int) -> bool:
        student = build_model(RunConfig().model, num_labels=3, seed=seed)
        save_file(student.backbone.body.state_dict(), weights)
        origins = find_origins([config.model], pretrained="auto", on_gpu=False)
        task = find_task("chestxray14")
        return not train_teacher(config, task, tiny_dataset, folder=tmp_path / "t", origins=origins).was_there

    assert [made(0), made(0), made(1)] == [True, False, True]
