"""Files for TensorBoard's HParams tab: columns that only grow, values and an end that are replaced, not repeated."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from event_files import content, scalars, values
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status

from xlite.train.hparams import BEGIN, COLUMNS, add_columns, begin_run, curve_files, end_run, write_columns


def columns(folder):
    experiment = metadata.parse_experiment_plugin_data(content(folder, metadata.EXPERIMENT_TAG))
    limits = {
        info.name: list(info.domain_discrete) or [info.domain_interval.min_value, info.domain_interval.max_value]
        for info in experiment.hparam_infos
    }
    return limits, [info.name.tag for info in experiment.metric_infos]


def test_columns_are_the_space_s_keys_with_their_limits_beside_state_and_rung(tmp_path):
    chosen = {"loss.name": ["bce", "focal"], "optim.lr": [0.3, 0.1], "x.on": [True, True], "x.list": [[1, 2]]}
    write_columns(tmp_path / "runs", {**chosen, "x.unset": [None], "x.mixed": [None, 2, "auto"]}, metric="auc_macro")
    limits, metrics = columns(tmp_path / "runs")
    assert limits.pop("state") == ["complete", "failed", "promoted", "pruned"]
    assert limits == {
        "loss.name": ["bce", "focal"],
        "optim.lr": [0.1, 0.3],
        "x.on": [True],
        "x.list": ["[1, 2]"],
        "x.mixed": ["2", "auto"],
    }
    assert metrics == ["best/auc_macro", "test/auc_macro", "rung"]
    assert [file.name for file in (tmp_path / "runs").iterdir()] == [COLUMNS]


def test_columns_of_baselines_join_those_of_their_search(tmp_path):
    write_columns(tmp_path, {"model.backbone": ["a", "b"], "optim.lr": [0.1, 0.2]}, metric="m")
    before = columns(tmp_path)
    write_columns(tmp_path, {"model.backbone": ["c"], "optim.lr": [0.5], "optim.batch_size": [16]}, metric="m")
    limits, _ = columns(tmp_path)
    assert (limits["model.backbone"], limits["optim.lr"], limits["optim.batch_size"]) == (
        ["a", "b", "c"],
        [0.1, 0.5],
        [16, 16],
    )
    write_columns(tmp_path, {}, metric="m")
    assert columns(tmp_path)[0] == limits != before[0]


def test_keys_and_values_that_no_draw_had_become_columns_with_the_runs_that_have_them(tmp_path):
    write_columns(tmp_path, {"loss.name": ["bce"], "optim.lr": [0.1, 0.2]}, metric="m", more=["objective/size_mb"])
    add_columns(tmp_path, [{"loss.name": "focal", "loss.gamma": 2.0}, {"optim.lr": 0.3, "x.unset": None}])
    limits, metrics = columns(tmp_path)
    limits.pop("state")
    assert limits == {"loss.name": ["bce", "focal"], "optim.lr": [0.1, 0.3], "loss.gamma": [2.0, 2.0]}
    assert metrics == ["best/m", "objective/size_mb", "test/m", "rung"]


def test_columns_that_lack_nothing_are_left_alone(tmp_path):
    add_columns(tmp_path, [{"optim.lr": 0.1}])  # of a version without columns: TensorBoard shows the keys of all runs
    assert not list(tmp_path.iterdir())
    write_columns(tmp_path, {"optim.lr": [0.1, 0.2], "x.mixed": [2, "auto"], "x.on": [True]}, metric="m")
    before = (tmp_path / COLUMNS).stat()
    add_columns(tmp_path, [{"optim.lr": 0.15, "x.mixed": 2, "x.on": True}])
    assert (tmp_path / COLUMNS).stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", [b"", b"text that is no event", b"\x00" * 40])
def test_damaged_columns_are_written_again(tmp_path, damage):
    (tmp_path / COLUMNS).write_bytes(damage)
    write_columns(tmp_path, {"optim.lr": [0.1]}, metric="m")
    assert set(columns(tmp_path)[0]) == {"state", "optim.lr"}


def test_a_run_has_a_state_only_when_it_has_ended(tmp_path):
    begin_run(tmp_path, {"optim.lr": 0.1, "x.unset": None})
    assert values(tmp_path) == {"optim.lr": 0.1}
    assert content(tmp_path, metadata.SESSION_END_INFO_TAG) is None
    for _ in range(2):  # written again, e.g. since the driver was killed: nothing is there twice
        end_run(tmp_path, {"optim.lr": 0.1}, state="pruned", epoch=5, scalars={"rung": 5})
    assert values(tmp_path) == {"optim.lr": 0.1, "state": "pruned"} and scalars(tmp_path) == {"rung": [(5, 5.0)]}
    assert not curve_files(tmp_path)


@pytest.mark.parametrize(("state", "status"), [("complete", "STATUS_SUCCESS"), ("failed", "STATUS_FAILURE")])
def test_a_failure_is_one_in_tensorboard_too(tmp_path, state, status):
    end_run(tmp_path / "never begun", {}, state=state, epoch=0, scalars={})
    ended = metadata.parse_session_end_info_plugin_data(
        content(tmp_path / "never begun", metadata.SESSION_END_INFO_TAG)
    )
    assert ended.status == Status.Value(status)


def test_a_run_that_begins_anew_forgets_its_earlier_end_and_values(tmp_path):
    end_run(tmp_path, {"optim.lr": 0.1}, state="promoted", epoch=3, scalars={"test/auc_macro": 0.7})
    begin_run(tmp_path, {"optim.lr": 0.2})
    assert (values(tmp_path), scalars(tmp_path)) == ({"optim.lr": 0.2}, {})


def test_writers_of_one_run_do_not_meet(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(begin_run, tmp_path, {"optim.lr": 0.1}) for _ in range(200)]:
            done.result()
    assert [file.name for file in tmp_path.iterdir()] == [BEGIN] and values(tmp_path) == {"optim.lr": 0.1}
