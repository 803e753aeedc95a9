"""A fault on a GPU that trials share ends them all; only the one whose fault it was fails. No GPU is needed for it."""

import os
from types import SimpleNamespace

import pytest
from harness import HERE
from ray.tune.schedulers import FIFOScheduler
from tiny_task import FAULTY, LOSES_GPU, PLACE, SHARED, SLOW, SharedGpu

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.gpu.memory import DeviceMemory
from xlite.ledger import Ledger, sqlite_url
from xlite.models.limits import Cost
from xlite.study.candidates import Candidate
from xlite.study.job import Job, TrialFolders
from xlite.study.shares import Shares
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.tune.execute import run_trials
from xlite.tune.search import LedgerSearch

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
BASE = RunConfig().override(
    {
        **{"model.backbone": "mobilenetv3_small_050", "data.image_size": 32, "data.augmentation": "none"},
        **{"optim.batch_size": 70, "train.epochs": 5, "train.precision": "fp32"},
    },
    source="test",
)
CONFIGURATIONS = [{"distill.temperature": LOSES_GPU}, {"distill.temperature": SLOW}]


@pytest.fixture(scope="module")
def rows(tiny_dataset, tmp_path_factory):
    """The culprit, which fails whenever it has trained three steps, and its neighbour."""
    folder = tmp_path_factory.mktemp("study")
    silent = SimpleNamespace(started=lambda *_: None, progressed=lambda *_: None, ended=lambda *_: None)
    cost = Cost(1, 1.0, 1.0)
    sharing = SharedGpu(DeviceMemory(2**34, 2**34), 2**29, environment={"CUDA_MPS_PIPE_DIRECTORY": str(folder)})
    candidates = SimpleNamespace(
        space=SimpleNamespace(propose=lambda trial: CONFIGURATIONS[trial.number], is_grid=False),
        identity=repr,
        resolve=lambda overrides: Candidate(overrides, BASE.override(overrides, source="test"), cost, 0.5),
    )
    folders = TrialFolders(folder)
    job = Job("tiny_task:FAULTY", "multilabel", tiny_dataset, None, folders, device_kind="cpu", sharing=sharing)
    shares = Shares(num_cpus=2, num_gpus=1, cpus_per_trial=1, gpus_per_trial=0.5, max_concurrent=2)
    options = SimpleNamespace(folder=folder, address=None, time_budget_s=None)
    with pytest.MonkeyPatch.context() as patch, Ledger.open(sqlite_url(folder / "s.db"), "s", create=True) as ledger:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))  # of the workers
        patch.setenv(PLACE, str(folder))
        patch.setenv(SHARED, "1")
        search = LedgerSearch(ledger, candidates, folders, None, silent, num_trials=2)
        run_trials(job, search, FIFOScheduler(), shares=shares, options=options)
        yield ledger.rows()


def test_the_culprit_is_found_alone_and_fails_with_its_fault(rows):
    culprit = rows[0]
    assert culprit.state == "failed"
    assert culprit.reason == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert culprit.notes[-1].startswith("the GPU failed 2 times while shared; resumed alone")
    assert sorted(culprit.curve) == [1, 2, 3]  # each of its three processes got one epoch further


def test_its_neighbour_comes_to_its_end_with_the_curve_of_an_undisturbed_run(rows, tiny_dataset):
    neighbour = rows[1]
    config = BASE.override(CONFIGURATIONS[1], source="test")
    undisturbed = {
        report.epoch: report.best_value
        for report in fit(TrainingRun(config, FAULTY, tiny_dataset, choose_device("fp32", kind="cpu")))
    }
    assert neighbour.state == "complete" and neighbour.curve == undisturbed
    assert any("GPU fault" in note or "alone" in note for note in (*neighbour.summary.notes, *neighbour.notes))
