"""`xlite watch` of a ledger in PostgreSQL."""

import json
import urllib.request

import pytest
from postgres_server import PASSWORD, postgres
from watched_study import make_study, watched

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]


def test_a_ledger_in_postgresql_is_shown_and_its_password_is_nowhere(tmp_path) -> None:
    with postgres() as server:
        url = server.new_database("studies")
        make_study(tmp_path, url)
        with watched(tmp_path, "--storage", url) as here:
            words = [" ".join(each.cmdline()) for each in here.below()]
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                here.addresses["optuna-dashboard"].replace("/dashboard/", "/api/") + "?after=0"
            ) as answer:
                assert len(json.load(answer)["trials"]) == 6
        printed = "".join(here.lines)
        for secret in (PASSWORD, url):
            assert secret not in printed and secret not in " ".join(words)
