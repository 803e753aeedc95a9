"""Ray is given the trials of a study."""

import os
import shutil

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the trials write their own events
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a failed trial's last result has no metric
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a relative model.weights is meant from the command's folder

from ray import tune
from ray.tune.schedulers import TrialScheduler

from xlite.gpu.memory_policy import MAX_SHARED_FAULTS
from xlite.study.job import Job
from xlite.study.options import StudyOptions
from xlite.study.shares import Shares
from xlite.tune.cluster import ray_running
from xlite.tune.search import LedgerSearch
from xlite.tune.trainable import DistillationTrial

MAX_DEATHS = 2
"""A trial whose worker process died (killed, out of memory) is resumed in another this many times."""


def run_trials(
    job: Job, search: LedgerSearch, scheduler: TrialScheduler, *, shares: Shares, options: StudyOptions
) -> None:
    """Run the trials that `search` gives out; returns when they ended, its deadline stopped them, or Ctrl-C did."""
    scratch = options.folder / ".ray"
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    with ray_running(shares, options.address, options.folder):
        try:
            tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(DistillationTrial, job=job),
                    lambda config: trial_request(
                        config["assignment"].attempt.share, cpus_per_trial=shares.cpus_per_trial
                    ),
                ),
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    scheduler=scheduler,
                    num_samples=-1,  # the search says when it has ended: a trial may be retried
                    max_concurrent_trials=shares.max_concurrent,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=scratch.name,
                    storage_path=str(options.folder),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials keep their own
                    failure_config=tune.FailureConfig(
                        max_failures=MAX_DEATHS + (MAX_SHARED_FAULTS if job.sharing else 0)
                    ),
                    stop=search.deadline,
                    verbose=0,
                ),
            ).fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def trial_request(share: float, *, cpus_per_trial: int) -> tune.PlacementGroupFactory:
    """What Ray reserves for a trial that holds this share of a GPU (0: none)."""
    bundle = {"CPU": float(cpus_per_trial)}
    if share > 0:
        bundle["GPU"] = float(share)
    return tune.PlacementGroupFactory([bundle])
