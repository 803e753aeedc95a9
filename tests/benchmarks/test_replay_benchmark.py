"""The replay benchmark on small tables whose epochs can be counted by hand."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from optuna.trial import TrialState

from xlite.errors import InputError


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    import replay_search

    return replay_search


def table_of(replay, finals, epochs=10):
    """A configuration for each of `finals`, in order along one parameter; it rises evenly and gets there at its end."""
    finals = np.array(finals)
    points = np.arange(len(finals), dtype=float)[:, None]
    return replay.Table(("x",), points, finals[:, None] * np.linspace(1 / epochs, 1, epochs))


class Scripted:
    """Proposes these points, one after another, and stops each trial after its number of epochs."""

    def __init__(self, script):
        self.script, self.ended, self.count = script, [], -1

    def start(self):
        self.count += 1
        return str(self.count), {"x": self.script[self.count][0]}

    def report(self, trial, epoch, value):
        return epoch >= self.script[int(trial)][1]

    def end(self, trial):
        self.ended.append(int(trial))


def test_random_runs_each_configuration_to_its_end_until_it_meets_the_best(replay):
    table = table_of(replay, np.r_[np.full(8, 0.5), 0.9])
    positions = [int(np.flatnonzero(replay.RandomFull(table, seed).order == 8)[0]) + 1 for seed in range(6)]
    spent = [replay.epochs_to_reach(0.9, table, replay.RandomFull(table, seed)) for seed in range(6)]
    assert spent == [10 * position for position in positions] and len(set(spent)) > 2


def test_a_proposal_becomes_the_nearest_configuration_not_run_yet(replay):
    table = table_of(replay, [0.5, 0.9, 0.5, 0.5])
    # 1.9 is nearest to 2, then to 1 (2 has been run), whose tenth epoch is the one looked for
    searcher = Scripted([(1.9, 3), (1.9, 10)])
    assert replay.epochs_to_reach(0.9, table, searcher) == 3 + 10
    assert searcher.ended == [0]


def test_parallel_trials_take_turns_and_all_their_epochs_count(replay):
    table = table_of(replay, [0.5, 0.9, 0.5, 0.5])
    searcher = Scripted([(0, 10), (1, 10)])
    assert replay.epochs_to_reach(0.45, table, searcher, num_parallel=2) == 2 * 5  # 0.45 is the good one's fifth epoch


def test_a_searcher_that_stopped_the_good_one_never_gets_there(replay):
    table = table_of(replay, [0.5, 0.9])
    assert replay.epochs_to_reach(0.9, table, Scripted([(1, 9), (0, 10), (0, 10)])) == np.inf


@pytest.mark.parametrize("name", ["Ours", "Tune"])
def test_early_stopping_finds_the_peak_of_a_smooth_table_in_fewer_epochs_than_random(replay, name):
    table = table_of(replay, 0.9 - np.abs(np.linspace(-1, 1, 61) - 0.3) / 2)
    target = 0.99 * table.curves.max()
    make = {
        "Ours": lambda seed: replay.Ours(table, seed, num_images=40_000),
        "Tune": lambda seed: replay.Tune(table, seed),
    }
    searched = [replay.epochs_to_reach(target, table, make[name](seed)) for seed in range(5)]
    random = [replay.epochs_to_reach(target, table, replay.RandomFull(table, seed)) for seed in range(5)]
    assert np.median(searched) < np.median(random)


def test_the_table_of_medians_is_printed_with_random_as_its_measure(replay, tmp_path, monkeypatch, capsys):
    import replay as benchmark

    table = table_of(replay, [0.5, 0.6, 0.9])
    np.savez(tmp_path / "t.npz", hp_names=table.names, hp=table.points, val_error=1 - table.curves)
    kept = {name: make for name, make in benchmark.SEARCHERS.items() if name in ("random, full runs", "ours")}
    monkeypatch.setattr(benchmark, "SEARCHERS", kept)
    options = ["--curves", str(tmp_path / "t.npz"), "--seeds", "3", "--random-seeds", "200"]
    benchmark.main(benchmark.make_parser().parse_args(options))
    _, _, _, random, ours = (line.split() for line in capsys.readouterr().out.splitlines())
    assert " ".join(random).startswith("random, full runs 200 20 20 to 20 1.00")  # the best is first, second or third
    assert ours[:2] == ["ours", "3"] and float(ours[6]) == round(float(ours[2]) / 20, 2)


def test_ours_starts_in_the_middle_and_tells_stopped_trials_from_ended_ones(replay, monkeypatch):
    table = table_of(replay, np.linspace(0.1, 0.9, 41))
    searcher = replay.Ours(table, 0, num_images=700)
    told = {}
    monkeypatch.setattr(searcher.sampling, "finish", lambda number, state, value: told.update({number: (state, value)}))
    trial, point = searcher.start()
    assert point == {"x": 20.0}
    for epoch in range(1, 11):
        stop = searcher.report(trial, epoch, 0.5 - epoch / 100)
    searcher.end(trial)
    assert stop
    trial, _ = searcher.start()
    stopped = [searcher.report(trial, epoch, 0.1) for epoch in range(1, 6)]
    searcher.end(trial)
    assert stopped == [False, False, False, False, True]
    assert told == {0: (TrialState.COMPLETE, 0.49), 1: (TrialState.PRUNED, 0.1)}  # the best epoch, not the last


def test_a_file_that_is_no_table_is_one_line(replay, tmp_path):
    (tmp_path / "t.npz").write_text("no")
    np.savez(tmp_path / "u.npz", hp_names=["a"], hp=np.ones((3, 1)), val_error=np.ones((2, 4)))
    for name, says in (("t.npz", "not a table"), ("u.npz", "do not fit together")):
        with pytest.raises(InputError, match=says):
            replay.read_table(tmp_path / name)
