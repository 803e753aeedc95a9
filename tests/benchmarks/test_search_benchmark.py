"""The side-by-side of searches: reading of curves, times and ratios on curves made by hand; the peers train alike."""

import argparse
import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from xlite.config import OptimConfig, RunConfig, TrainConfig
from xlite.train.schedule import learning_rate

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def curves(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("search_curves")


def run_of(curves, name, curve, *, seconds=100.0, ended=True, seed=1):
    """A run whose single trial had these AUCs at these seconds."""
    return curves.Run(name, seed, seconds, ended, [(s, "0", i, v) for i, (s, v) in enumerate(curve.items(), start=1)])


def test_a_curve_is_the_best_so_far_where_it_improves(curves):
    run = run_of(curves, "a", {10.0: 0.6, 20.0: 0.55, 30.0: 0.7, 40.0: 0.7, 50.0: 0.69})
    assert run.curve == [(10.0, 0.6), (30.0, 0.7)]
    assert run.best == 0.7


def test_reached_at_the_first_epoch_at_or_above_the_reference_else_bounded_by_the_whole_run(curves):
    run = run_of(curves, "a", {10.0: 0.6, 20.0: 0.7, 30.0: 0.8}, seconds=35.0)
    assert curves.time_to_reach(run, 0.7) == curves.Time(20.0)
    assert curves.time_to_reach(run, 0.701) == curves.Time(30.0)
    assert str(curves.time_to_reach(run, 0.81)) == "> 35"


def test_the_reference_is_the_best_of_few_random_runs_whatever_the_searches_found(curves):
    named = {"random": run_of(curves, "random", {10.0: 0.7, 20.0: 0.65}), "c": run_of(curves, "c", {10.0: 0.8})}
    assert curves.reference_auc(named) == 0.7
    assert curves.reference_auc({"c": named["c"]}) == math.inf


@pytest.mark.parametrize(("runs", "rank"), [(5, 1), (16, 1), (31, 1), (32, 2), (160, 10)])
def test_the_reference_is_what_one_random_run_in_16_reaches(curves, runs, rank):
    bests = np.random.default_rng(0).permutation(runs) / runs
    points = [
        (float(epoch), str(trial), epoch, best - 0.1 * (epoch == 1))
        for trial, best in enumerate(bests)
        for epoch in (1, 2)
    ]
    assert curves.reference_auc({"random": curves.Run("random", 1, 5.0, True, points)}) == sorted(bests)[-rank]


def test_a_run_that_was_cut_off_counts_as_at_least_its_limit(curves):
    Time = curves.Time
    assert curves.ratio(Time(800.0, True), Time(100.0)) == Time(8.0, True)
    assert curves.ratio(Time(300.0), Time(100.0)) == Time(3.0)
    assert str(curves.ratio(Time(300.0), Time(100.0, True))) == "-"  # ours never got there: nothing is slower than it


def test_a_median_is_a_bound_unless_every_bound_lies_above_it(curves):
    Time = curves.Time
    assert curves.median([Time(2.0), Time(3.0), Time(8.0, True)]) == Time(3.0)
    assert curves.median([Time(2.0), Time(8.0, True), Time(8.0, True)]) == Time(8.0, True)
    assert curves.median([Time(2.0, True), Time(3.0), Time(4.0)]) == Time(3.0, True)


def test_a_speed_up_is_the_median_of_the_ratios_seed_by_seed(curves):
    random = run_of(curves, "random", {10.0: 0.8})
    ours = run_of(curves, "ours", {20.0: 0.8}, seconds=50.0)
    runs = {
        1: {"random": random, "ours": run_of(curves, "ours", {10.0: 0.8}), "b": run_of(curves, "b", {50.0: 0.8})},
        2: {"random": random, "ours": ours, "b": run_of(curves, "b", {60.0: 0.8})},
        3: {"random": random, "ours": ours, "b": run_of(curves, "b", {5.0: 0.6}, ended=False)},
        4: {"random": random, "b": run_of(curves, "b", {1.0: 0.8})},
    }
    assert curves.speed_up(runs, "b") == curves.Time(5.0, True)  # of 5, 3 and at least 100 / 20; seed 4 lacks ours
    assert curves.speed_up(runs, "b", 0.74) == curves.Time(3.0)  # of 5, 3 and 5 / 20
    assert "(b) Optuna + median pruner over ours: > 5 (goal: at least 4, reached)" in curves.tell(runs)
    assert "over ours: 3 (goal: at least 4, missed)" in curves.tell({2: runs[2]})
    watched_briefly = {**runs[2], "b": run_of(curves, "b", {5.0: 0.6}, seconds=30.0, ended=False)}
    assert "over ours: > 1.5 (goal: at least 4, not shown)" in curves.tell({2: watched_briefly})


def test_points_of_a_peer_are_seconds_since_its_start_in_order_of_time(curves, tmp_path):
    lines = [
        {"time": 1030.0, "trial": 1, "epoch": 1, "value": 0.6, "seconds": {"step": 2.0}},
        {"time": 1012.5, "trial": 0, "epoch": 1, "value": 0.5, "seconds": {"step": 3.0, "teacher": 1.0}},
    ]
    file = tmp_path / "reports.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    points, kinds = curves.points_of_reports(file, 1000.0)
    assert points == [(12.5, "0", 1, 0.5), (30.0, "1", 1, 0.6)]
    assert kinds == {"step": 5.0, "teacher": 1.0}


def test_points_of_our_study_come_from_its_events(curves, tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path / "trials" / "00003"
    with SummaryWriter(str(folder)) as writer:
        for epoch, value in enumerate((0.25, 0.75), start=1):
            writer.add_scalar("val/auc_macro", value, epoch, walltime=2000.0 + epoch)
    (folder / "trial.json").write_text(json.dumps({"seconds_by_kind": {"step": 4.0}}))
    points, kinds = curves.points_of_study(tmp_path, 1990.0)
    assert points == [(11.0, "00003", 1, 0.25), (12.0, "00003", 2, 0.75)]
    assert kinds == {"step": 4.0}


def test_the_profile_tells_the_first_epoch_and_how_many_follow_in_a_second(curves):
    run = run_of(curves, "a", {10.0: 0.5, 12.0: 0.6, 14.0: 0.7})
    assert run.rate == 0.5
    assert math.isnan(run_of(curves, "a", {10.0: 0.5}).rate)
    assert curves.tell_profile({1: {"a": run}}).splitlines()[1].split()[-2:] == ["10.000", "0.500"]


def test_a_run_comes_back_as_it_was_written(curves, tmp_path):
    run = run_of(curves, "b", {10.0: 0.6, 20.0: 0.7}, ended=False, seed=3)
    run.write(tmp_path)
    assert curves.read_run(tmp_path, "b", 3) == run
    assert curves.read_run(tmp_path, "b", 4) is None


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_the_peers_learning_rate_is_ours_at_every_step(monkeypatch, schedule):
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    peer = importlib.import_module("training")
    optim = OptimConfig(schedule=schedule, plateau_patience=1, learning_rate=0.01)
    config = RunConfig(optim=optim, train=TrainConfig(epochs=6))
    optimizer, per_step, per_epoch = peer.optimisation(torch.nn.Linear(2, 2), config, 4)
    values = [0.5, 0.6, 0.60001, 0.55, 0.58, 0.7]  # a better one, however little, is better
    for epoch in range(6):
        for step in range(4):
            ours = learning_rate(optim, epoch=epoch, step=step, steps_per_epoch=4, num_epochs=6, history=values[:epoch])
            assert optimizer.param_groups[0]["lr"] == pytest.approx(ours, rel=1e-6), (epoch, step)
            optimizer.step()
            if per_step is not None:
                per_step.step()
        if per_epoch is not None:
            per_epoch.step(values[epoch])


@pytest.fixture
def search(curves):
    return importlib.import_module("search")


def test_a_search_is_ended_once_it_is_there(search, tmp_path):
    """A real process, that would run for a minute."""
    script, told = tmp_path / "script.py", tmp_path / "told"
    script.write_text(f"import pathlib, time\npathlib.Path({str(told)!r}).write_text('0.7')\ntime.sleep(60)")

    def points(started):
        return [(1.0, "0", 1, float(told.read_text() or 0))] if told.exists() else []

    _, seconds, ended = search.run_process([str(script)], tmp_path / "log", search.Watch(points, 0.7, 50.0))
    assert not ended
    assert seconds < 30


def test_a_search_that_does_not_get_there_is_ended_at_its_limit(search, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import time\ntime.sleep(60)")
    watch = search.Watch(lambda started: [(1.0, "0", 1, 0.6)], 0.7, 1.0)
    _, seconds, ended = search.run_process([str(script)], tmp_path / "log", watch)
    assert not ended
    assert 1.0 <= seconds < 30


@pytest.mark.parametrize(("reached", "limit_s"), [(0.8, 1.1 * 4 * 20.0), (0.7, 50.0)], ids=["there", "not there"])
def test_a_peer_is_watched_for_its_goal_and_a_tenth(search, curves, tmp_path, reached, limit_s):
    run_of(curves, "ours", {20.0: reached}, seconds=50.0, ended=False).write(tmp_path)
    arguments = argparse.Namespace(budget={"c": 7.0}, results=tmp_path)
    assert search.peer_limit_s(arguments, 1, "b", 0.8) == pytest.approx(limit_s)
    assert search.peer_limit_s(arguments, 1, "c", 0.8) == 7.0
    with pytest.raises(SystemExit, match="run that first"):
        search.peer_limit_s(arguments, 2, "b", 0.8)


def test_random_configurations_are_not_the_searches_own(search, tmp_path):
    early = importlib.import_module("early_epochs")
    space = BENCHMARKS.parent / "search_spaces" / "kd_cpu.py"
    first, *drawn = early.draw_configurations(space, 17, search.RANDOM_SEED + 1)
    assert first["optim.learning_rate"] == 3e-3
    assert len({configuration["optim.learning_rate"] for configuration in drawn}) == 16
    assert drawn[0] not in early.draw_configurations(space, 17, 1)


@pytest.fixture
def search_orders(curves):
    return importlib.import_module("search_orders")


def test_full_runs_are_read_a_row_a_trial(search_orders, curves):
    points = [(1.0, "0", 1, 0.5), (2.0, "1", 1, 0.4), (3.0, "0", 2, 0.6), (4.0, "1", 2, 0.7)]
    assert search_orders.curves_of(curves.Run("random", 1, 5.0, True, points)).tolist() == [[0.5, 0.6], [0.4, 0.7]]


def test_epochs_are_counted_until_the_reference_shows(search_orders):
    table = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    none_stopped = search_orders.FullRuns()
    assert search_orders.epochs_until(0.7, table, np.array([0, 1]), none_stopped, 1) == 4 + 3
    assert search_orders.epochs_until(0.7, table, np.array([0, 1]), none_stopped, 2) == 3 + 3
    assert search_orders.epochs_until(0.9, table, np.array([0, 1]), none_stopped, 2) == math.inf


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("a", 11 * 20 + 20),
        ("b", 5 * 20 + 6 * 1 + 20),  # five full runs, then a bad one is pruned at its first epoch
        ("c", 20 + 10 * 1 + 20),  # epoch 1 is a rung
    ],
)
def test_the_peers_stop_what_is_worse_than_what_came_before(search_orders, name, epochs):
    """Eleven trials, each worse than the one before at every epoch, then the best there is; one at a time."""
    rising = np.linspace(0.0, 0.05, 20)
    table = np.stack([0.8 - 0.01 * row + rising for row in range(11)] + [0.9 + rising])
    rule = search_orders.RULES[name][1](20, 701)
    assert search_orders.epochs_until(table.max(), table, np.arange(12), rule, 1) == epochs


def test_ours_goes_by_the_best_so_far_at_the_projects_first_rung(search_orders):
    table = np.full((3, 20), 0.5)
    table[1, 0], table[1, 1:] = 0.9, 0.1  # its first epoch stays its best
    rule = search_orders.ours(20, 701)
    assert not any(rule.report(0, epoch, 0.5) for epoch in range(1, 20))
    assert not any(rule.report(1, epoch, table[1, epoch - 1]) for epoch in range(1, 20))
    stops = [rule.report(2, epoch, 0.4) for epoch in range(1, 9)]
    assert stops.index(True) == 4  # 3,500 images, 701 an epoch


def test_the_first_epoch_ends_when_it_was_measured_to_and_the_rest_follow_at_the_rate(search_orders, curves):
    run = run_of(curves, "a", {10.0: 0.5, 12.0: 0.6, 14.0: 0.7})
    assert search_orders.seconds_of(np.array([1, 2, 5]), run).tolist() == [10.0, 12.0, 18.0]


def test_all_runs_of_a_seed_must_have_been_measured(search_orders, curves, tmp_path):
    for name in curves.TITLES:
        run_of(curves, name, {10.0: 0.5, 12.0: 0.6}).write(tmp_path)
    with pytest.raises(SystemExit, match="seed 1: random not measured"):
        search_orders.measured(tmp_path, 1)
    run_of(curves, curves.RANDOM, {1.0: 0.8}).write(tmp_path)
    found = search_orders.measured(tmp_path, 1)
    assert found[curves.RANDOM].best == 0.8 and found[curves.OURS].best == 0.6


def test_each_search_ends_at_the_reference_that_was_asked_for(search_orders, curves):
    points = [(float(epoch), str(row), epoch, 0.5 + 0.01 * row) for row in range(4) for epoch in (1, 2)]
    named = {curves.RANDOM: curves.Run(curves.RANDOM, 1, 5.0, True, points)}
    named |= {name: run_of(curves, name, {10.0: 0.5, 12.0: 0.6}) for name in curves.TITLES}
    epochs, seconds = search_orders.replay(named, 50, 1, 1)  # any run reaches that: at the first epoch of the first
    assert set(epochs["a"]) == {1} and set(seconds["a"]) == {10.0}
    assert np.median(search_orders.replay(named, 50, 4, 1)[0]["a"]) > 2


def test_first_rungs_and_factors_are_swept_on_full_runs(search_orders, curves, monkeypatch, capsys):
    points = [(1.0, str(row), epoch, 0.5 + 0.01 * row) for row in range(4) for epoch in (1, 2, 3)]
    monkeypatch.setattr(search_orders, "SWEPT_RUNGS", (1, 3))
    search_orders.tell_sweep(curves.Run("random", 1, 5.0, True, points), orders=20, one_of=4, seed=1)
    told = capsys.readouterr().out.splitlines()
    assert "2       3       4" in told[0] and [line.split()[:3] for line in told[1:]] == [
        ["first", "rung", n] for n in "13"
    ]
    assert all(float(cell) >= 1 for line in told[1:] for cell in line.split()[3:])
