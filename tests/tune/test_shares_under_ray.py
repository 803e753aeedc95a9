"""Ray with a share of a GPU for each trial: workers stay with their share, and a trial can come again with another.

The GPU is one that Ray is told of; nothing computes on it.
"""

import os

import pytest
from ray import tune
from ray.tune.search import Searcher

from xlite.gpu.memory_policy import Attempt, after_out_of_memory
from xlite.study.shares import Shares
from xlite.tune.cluster import ray_running
from xlite.tune.execute import trial_request

SHARES = [1 / 4, 1 / 2, 1 / 4, 1 / 2]


def trial_class():
    """Made here, so that it travels to the workers as it is."""

    class Trial(tune.Trainable):
        """Says which process it ran in; trial 0 runs out of memory on a quarter of the GPU."""

        def setup(self, config):
            self.begun = config

        def reset_config(self, new_config):
            self.begun = new_config
            return True

        def step(self):
            begun = self.begun
            out_of_memory = begun["number"] == 0 and begun["share"] <= 1 / 4
            return {"done": True, "pid": os.getpid(), "share": begun["share"], "out_of_memory": out_of_memory}

    return Trial


class Script(Searcher):
    """Gives out the scripted shares, and again what ran out of memory; None while that may still happen."""

    def __init__(self):
        super().__init__(metric="share", mode="max")
        self.new = [(number, Attempt(8, share)) for number, share in enumerate(SHARES)]
        self.again, self.running, self.results = [], {}, []

    def suggest(self, trial_id):
        waiting = self.again or self.new
        if not waiting:
            return None if self.running else Searcher.FINISHED
        number, attempt = waiting.pop(0)
        self.running[trial_id] = (number, attempt)
        return {"number": number, "share": attempt.share}

    def on_trial_complete(self, trial_id, result=None, error=False):
        assert not error
        number, attempt = self.running.pop(trial_id)
        self.results.append((number, result["share"], result["pid"]))
        if result["out_of_memory"]:
            self.again.append((number, after_out_of_memory(attempt)))

    def __getstate__(self):
        return {}  # Ray pickles it for its own restore, which is not used

    def save(self, checkpoint_path): ...

    def restore(self, checkpoint_path): ...


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(number, share, pid) of every Ray trial, in the order of their ends."""
    folder = tmp_path_factory.mktemp("ray")
    shares = Shares(num_cpus=4, num_gpus=1, cpus_per_trial=1, gpus_per_trial=0.5, max_concurrent=4)
    script = Script()
    with ray_running(shares, None, folder):
        tune.Tuner(
            tune.with_resources(trial_class(), lambda config: trial_request(config["share"], cpus_per_trial=1)),
            tune_config=tune.TuneConfig(search_alg=script, num_samples=-1, max_concurrent_trials=4, reuse_actors=True),
            run_config=tune.RunConfig(
                name="r",
                storage_path=str(folder),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
    return script.results


def test_every_trial_gets_the_share_its_configuration_asks_for(results):
    first = {number: share for number, share, _ in reversed(results)}
    assert [first[number] for number in range(len(SHARES))] == SHARES


def test_a_worker_serves_trials_of_one_share_only(results):
    by_process = {}
    for _, share, pid in results:
        by_process.setdefault(pid, set()).add(share)
    assert all(len(shares) == 1 for shares in by_process.values())
    assert len(by_process) < len(results)  # some were handed on


def test_a_trial_that_ran_out_of_memory_comes_again_with_the_next_share(results):
    assert [share for number, share, _ in results if number == 0] == [1 / 4, 1 / 2]
    assert len(results) == len(SHARES) + 1
