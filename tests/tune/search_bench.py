"""The bridge to Ray without Ray: made-up candidates, and results as Ray passes them on."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.models.limits import Cost, Limits
from xlite.study.candidates import Candidate
from xlite.study.job import TrialFolders
from xlite.train.summary import NO_RUN, RunSummary
from xlite.tune.messages import EpochDone, Failed, as_result
from xlite.tune.search import LedgerSearch

SIZES = {"small": Cost(1_000_000, 4.0, 2.0), "large": Cost(9_000_000, 36.0, 20.0)}


def propose(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["small", "large"])}


def only_large(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["large"])}


class Heard:
    def __init__(self):
        self.events = []

    def started(self, number, overrides):
        self.events.append(("started", number))

    def progressed(self, number, epoch, best_so_far):
        self.events.append(("progressed", number, epoch, best_so_far))

    def held_up(self, number, reason):
        self.events.append(("held_up", number, reason))

    def ended(self, number, outcome, best_so_far, reason):
        self.events.append(("ended", number, outcome, best_so_far, reason))


class Space:
    """Candidates of made-up costs. Unless they `repeat`, each proposal trains something else, whatever it says."""

    def __init__(self, propose, limits=None, gpu_share=0.0, batch_size=1, repeat=False, is_grid=False):
        self.space, self.limits = SimpleNamespace(propose=propose, is_grid=is_grid), limits or Limits()
        self.gpu_share, self.repeat, self.number = gpu_share, repeat, count()
        self.config = RunConfig().override({"optim.batch_size": batch_size}, source="test")

    def identity(self, overrides):
        return json.dumps(overrides, sort_keys=True) if self.repeat else next(self.number)

    def resolve(self, overrides):
        if overrides["model.backbone"] not in SIZES:
            raise InputError(f"space.py: unknown backbone {overrides['model.backbone']}")
        cost = SIZES[overrides["model.backbone"]]
        return Candidate(overrides, self.config, cost, self.gpu_share, self.limits.broken_by(cost))


def search(ledger, *, num_trials=10, limits=None, space=propose, asha=None, **of_candidates):
    candidates = Space(space, limits, **of_candidates)
    folders = TrialFolders(Path(ledger.url.removeprefix("sqlite:///")).parent)
    return LedgerSearch(ledger, candidates, folders, asha, Heard(), num_trials=num_trials)


class StopsAll:
    """In ASHA's place: has stopped every trial."""

    def __init__(self):
        self.stopped, self.replayed, self.forgotten = {"a"}, [], []

    def replay_unfinished(self, trial_id, curve):
        self.replayed.append((trial_id, curve))

    def know(self, trial_id, cost):
        pass

    def forget(self, trial_id):
        self.forgotten.append(trial_id)


def epoch(number, value, *, finished=False):
    """Ray's result of an epoch by which `value` is the best."""
    return curve_of((value,) * number, finished=finished)


def curve_of(curve, *, finished=False):
    best = curve.index(max(curve)) + 1
    return as_result(EpochDone(RunSummary(epochs=len(curve), curve=curve, best_epoch=best), finished))


def failed(reason, **more):
    return as_result(Failed(reason, NO_RUN, **more))
