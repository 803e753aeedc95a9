"""Ray: started on this machine or joined, given the trials, ended again."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the trials write their own events
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a failed trial's last result has no metric
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from xlite.tune.options import StudyOptions
from xlite.tune.resources import Shares
from xlite.tune.search import LedgerSearch
from xlite.tune.trainable import DistillationTrial, Job

OBJECT_STORE_BYTES = 512 * 2**20
"""Workers get arrays of labels through it, never pixels."""


def run_trials(
    job: Job, search: LedgerSearch, scheduler: TrialScheduler, *, shares: Shares, options: StudyOptions, num_trials: int
) -> None:
    """Run up to `num_trials` trials; returns when they ended, the time budget did, or Ctrl-C was pressed."""
    started_here = not ray.is_initialized()
    if started_here:
        start_ray(shares, options.address)
    scratch = options.folder / ".ray"
    try:
        request = {"cpu": shares.cpus_per_trial, "gpu": shares.gpus_per_trial}
        tune.Tuner(
            tune.with_resources(tune.with_parameters(DistillationTrial, job=job), request),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=num_trials,
                max_concurrent_trials=shares.max_concurrent,
                time_budget_s=options.time_budget_s,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=scratch.name,
                storage_path=str(options.folder),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials keep their own
                verbose=0,
            ),
        ).fit()
    finally:
        if started_here:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def start_ray(shares: Shares, address: str | None, *, temp_dir: Path | None = None) -> None:
    """Join a cluster, or start Ray on this machine with nothing listening beyond it."""
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        ray.init(address=address, **quiet)
        return
    ray.init(
        num_cpus=shares.num_cpus,
        num_gpus=shares.num_gpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(temp_dir) if temp_dir else None,
        **quiet,
    )
