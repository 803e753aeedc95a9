"""The ledger on a real PostgreSQL server, which is also killed, restarted and made unreachable."""

import gc
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from losing import around_commits
from postgres_server import PASSWORD, Server, postgres
from studies import LOSS, content, drive, open_study, run_one, space
from test_cut_off import deaths

from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, adopt, shown_url, sqlite_url, study_storage
from xlite.ledger.manifest import portable_url
from xlite.storage.files import write_json

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return server.new_database(f"db{abs(hash(request.node.name))}")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    """The study that `drive` leaves in SQLite."""
    url = sqlite_url(tmp_path_factory.mktemp("sqlite") / "study.db")
    with open_study(url) as ledger:
        drive(ledger)
    return content(url)


def test_it_holds_the_same_as_sqlite(url: str, expected: list[tuple]) -> None:
    with open_study(url, metadata={"metric": "auc_macro"}) as ledger:
        drive(ledger)
        assert ledger.metadata == {"metric": "auc_macro"}
        assert ledger.add_final(TrialResult(reason="none"), 0.75) == ledger.finals()[0]
        with Ledger.open(url, "s", create=True, phase="baseline") as baselines:
            run_one(baselines)
        assert [row.phase for row in ledger.baselines()] == ["baseline"]
    assert content(url) == expected


def test_a_copied_folder_takes_its_study_from_the_server(url: str, expected: list[tuple], tmp_path: Path) -> None:
    with open_study(url) as ledger:
        drive(ledger)
        ledger.add_final(TrialResult(reason="none"), 0.75)
    write_json(tmp_path / "study.json", {"name": "s", "storage": portable_url(url, tmp_path)})
    assert PASSWORD not in (tmp_path / "study.json").read_text()
    identity = adopt(tmp_path, url)
    own = study_storage(tmp_path)
    assert own == sqlite_url(tmp_path / "study.db") and content(own) == content(url) == expected
    with Ledger.open(own, "s", create=False) as mine, Ledger.open(url, "s", create=False) as theirs:
        assert len(mine.finals()) == 1
        assert (mine.mark.identity, theirs.mark.identity) == (identity, "")


def test_a_study_survives_the_death_of_its_driver(url: str) -> None:
    assert int(deaths(url, 9)) > 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_server_killed_in_between_loses_and_duplicates_nothing(
    server: Server, url: str, expected: list[tuple], number: signal.Signals
) -> None:
    """Just before a commit, or just after one, so that its answer is lost."""
    lines: list[str] = []

    def before(write: int) -> None:
        if write in (5, 21):
            server.kill(number)

    def after(write: int) -> None:
        if write in (2, 13, 34):  # the next transaction finds it gone
            server.kill(number)

    def on_wait(line: str) -> None:
        lines.append(line)
        server.start()

    with open_study(url, on_wait=on_wait) as ledger, around_commits(ledger, before=before, after=after):
        drive(ledger)
    assert content(url) == expected
    assert len(lines) == 5
    assert not any(PASSWORD in line for line in lines)


def test_an_unreachable_server_is_a_one_line_error_without_the_password(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLITE_PATIENCE_S", "0.3")
    with open_study(url, on_wait=lambda line: None) as ledger:
        ledger.ask(space)
        server.kill()
        try:
            with pytest.raises(InputError, match=r"me:\*\*\*@127.0.0.1:.*; check that it can be reached") as caught:
                ledger.report(0, 1, 0.5)
        finally:
            server.start()
        assert "\n" not in str(caught.value)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
        ledger.report(0, 1, 0.5)
        assert ledger.rows()[0].curve == {1: 0.5}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"password": "an/oth@er:1"}, "password authentication failed"),
        ({"database": "nothing"}, 'database "nothing" does not exist'),
        ({"host": "nowhere.invalid"}, "nowhere.invalid"),
        ({"port": 1}, "port 1"),
    ],
)
def test_a_wrong_url_is_a_one_line_error_at_once_without_the_password(
    server: Server, other: dict, message: str
) -> None:
    url = server.url(**other)
    with pytest.raises(InputError, match=message) as caught:
        Ledger.open(url, "s", create=True, on_wait=pytest.fail)
    shown_text = "".join(traceback.format_exception(caught.value))
    assert "me:***@" in shown_text and "\n" not in str(caught.value)
    for secret in (PASSWORD, "an/oth@er:1", "oth%40er"):
        assert secret not in shown_text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:pass@word@host/db",
        "postgresql+psycopg://me:pass@wo/rd@host/db",
        "postgresql+psycopg://me@host:pass/word/db",
        "postgresql+psycopg://me:pa/ss:word/db",
    ],
)
def test_an_unquoted_password_is_refused_without_showing_any_of_it(url: str) -> None:
    with pytest.raises(InputError, match="--storage") as caught:
        Ledger.open(url, "s", create=True)
    shown_text = "".join(traceback.format_exception(caught.value))
    assert (
        "pass" not in str(caught.value).replace("password", "")
        and "word@" not in shown_text
        and "wo/rd" not in shown_text
    )


def test_a_ledger_does_not_show_its_password(url: str) -> None:
    with open_study(url) as ledger:
        for shown in (repr(ledger), repr(ledger._storage), repr(ledger._storage.engine), shown_url(ledger.url)):
            assert PASSWORD not in shown and "pass" not in shown


DRIVER = """
import sys
from studies import open_study, space
ledger = open_study(sys.argv[1])
print(ledger.ask(space).number, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_second_process_is_refused_until_the_first_has_ended(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url = sqlite_url(tmp_path / "study.db") if kind == "sqlite" else request.getfixturevalue("url")
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    ) as first:  # fmt: skip
        assert first.stdout is not None and first.stdout.readline() == "0\n"
        with open_study(url) as second:
            for ask in (second.unfinished, lambda: second.queue([{LOSS: "bce"}]), lambda: second.ask(space)):
                with pytest.raises(
                    InputError, match="another process runs this study; let it end, or choose"
                ) as caught:
                    ask()
            assert PASSWORD not in str(caught.value)
            assert [row.state for row in second.rows()] == ["running"]
            first.kill()
            first.wait()
            assert [row.number for row in second.unfinished()] == [0]


def test_after_a_restart_another_process_may_have_taken_the_study(server: Server, url: str) -> None:
    with open_study(url, on_wait=lambda line: None) as first, open_study(url, on_wait=lambda line: None) as second:
        first.ask(space)
        server.kill(signal.SIGQUIT)
        server.start()
        assert second.unfinished()[0].number == 0
        with pytest.raises(InputError, match="another process runs this study"):
            first.ask(space)
        assert len(second.rows()) == 1


def test_a_user_without_the_right_to_make_tables_is_told_so(server: Server) -> None:
    server.new_database("closed")
    with server.connect() as administrator:
        administrator.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(InputError, match=r"^postgresql\+psycopg://guest:\*\*\*@.*/closed: permission denied"):
        Ledger.open(server.url("closed", username="guest", password="guest"), "s", create=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RDBStorage leaves its connection open when it cannot make its tables
        gc.collect()
