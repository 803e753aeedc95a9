"""A search in bad surroundings: no home, a long TMPDIR, a cluster with a token; and what it leaves there: nothing."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from compare import rows_of
from harness import Place, Run, make_home
from ray_head import ray_head
from tiny_task import SLOW

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = f'CONFIGURATIONS = [{{"distill.alpha": 0.0, "distill.temperature": {SLOW}}}]'
TOKEN = "a" * 64


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = make_home(tmp_path_factory.mktemp("outer"))
    (folder / "grid.py").write_text(SPACE)
    (folder / "no-home").write_text("a file, where a home is needed")
    (folder / ("long" * 20)).mkdir()
    return folder


def surroundings(home, **more):
    return {"HOME": str(home / "no-home"), "TMPDIR": str(home / ("long" * 20)), "RAY_ADDRESS": "127.0.0.1:1", **more}


def place(home, name, *more):
    words = ("--max-epochs", "4", "--set", "train.patience=1000", *more)
    return Place(home, name, task="tiny_task:FAULTY", space="grid.py", more=words)


class Seen:
    """What a search looks like from outside while its trial trains, and while its student is promoted."""

    def __init__(self, run):
        processes = run.target_spec()
        self.listening = {address for each in processes for address in _listening(each)}
        self.niceness = {each.name(): each.nice() for each in processes}
        (raylet,) = [each for each in processes if each.name() == "raylet"]
        sockets = [each.laddr for each in raylet.net_connections("unix") if each.laddr]
        self.session = Path(next(path for path in sockets if path.endswith("plasma_store"))).parents[3]
        self.modes = [oct(path.stat().st_mode)[-4:] for path in (self.session, self.session / "token")]


def _listening(process):
    return [each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]


@pytest.fixture(scope="module")
def search(home):
    """(what was seen in the search, exit code of the first Ctrl-C in the promotion, output, what was left running)."""
    run = Run(place(home, "bad", "--niceness", "3", "--promote-epochs", "1000"), surroundings(home))
    try:
        assert run.wait_until(lambda: run.place.num_epochs() >= 1), run.output()
        seen = Seen(run)
        assert run.wait_until(lambda: list((run.place.study / "promoted").glob("*.safetensors"))), run.output()
        assert not seen.session.exists()
        run.process.send_signal(signal.SIGINT)
        code = run.wait(limit_s=30)
        return seen, code, run.output(), run.left_over()
    finally:
        run.end()


def test_nothing_listens_beyond_this_machine(search):
    assert len(search[0].listening) > 0
    assert {address.removeprefix("::ffff:") for address in search[0].listening} == {"127.0.0.1"}


def test_workers_have_the_niceness_asked_for_and_none_of_ray_s(search):
    assert any(name.startswith("ray::") for name in search[0].niceness)
    assert set(search[0].niceness.values()) == {os.nice(0) + 3}


def test_the_session_is_private_and_outside_the_long_temporary_folder_and_the_home(search, home):
    seen = search[0]
    assert seen.modes == ["0700", "0600"] and seen.session.parent == Path("/tmp")
    assert list((home / ("long" * 20)).iterdir()) == []


def test_the_first_ctrl_c_ends_a_promotion(search):
    _, code, output, left = search
    assert code == 130 and output.splitlines()[-1] == "interrupted" and left == []


@pytest.mark.slow  # tests/tune/test_address.py joins such a cluster in the default run
def test_a_search_runs_on_a_cluster_with_its_token_and_leaves_the_cluster_running(home):
    token = home / "token"
    token.write_text(TOKEN)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)  # of the cluster's workers
        with ray_head(TOKEN) as address:
            run = Run(place(home, "cluster", "--no-promote", "--address", address),
                      surroundings(home, RAY_AUTH_TOKEN_PATH=str(token)))  # fmt: skip
            assert run.wait() == 0, run.output()
            again = Run(place(home, "cluster2", "--dry-run", "--address", address),
                        surroundings(home, RAY_AUTH_TOKEN_PATH=str(token)))  # fmt: skip
            assert again.wait() == 0, again.output()
    assert [row.state for row in rows_of(run.place)] == ["complete"]
