"""The address of a cluster: what is wrong is one line within a time limit; a real head is joined with its token."""

import os
import socket
from contextlib import closing

import pytest
from ray_head import free_port, ray_head

from xlite.errors import InputError
from xlite.tune import address
from xlite.tune.address import prepare_to_join

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
TOKEN, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """A home without a token, and whatever `prepare_to_join` sets undone."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that it is undone even where it was not set
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("given", ["head", "head:", ":6379", "head:0", "head:65536", "http://head:6379", "a b:6379"])
def test_what_is_no_address_is_told_its_form(given):
    with pytest.raises(InputError, match="write HOST:PORT of the cluster's head"):
        prepare_to_join(given)


def test_a_client_address_is_told_what_to_use_instead():
    with pytest.raises(InputError, match="cannot run over Ray Client; give the head's own HOST:PORT"):
        prepare_to_join("ray://127.0.0.1:10001")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "no-such-host.invalid"])
def test_a_dead_cluster_is_found_at_once(host):
    with pytest.raises(InputError, match=r"no connection \(.+\); is that cluster running\?"):
        prepare_to_join(f"{host}:{free_port()}")


def test_something_that_is_no_cluster_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(address, "JOIN_S", 4.0)
    silent = socket.create_server(("127.0.0.1", 0))
    with closing(silent), pytest.raises(InputError, match="no Ray cluster answered within 4 s"):
        prepare_to_join(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_head_with_a_token_is_joined_with_it_and_with_no_other(tmp_path, monkeypatch):
    with ray_head(TOKEN) as place:
        with pytest.raises(InputError, match=r"refuses to be joined without a token; put the cluster's into ~/\.ray/"):
            prepare_to_join(place)
        file = tmp_path / "token"
        file.write_text(OTHER)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
        with pytest.raises(InputError, match="the cluster refuses the token; put"):
            prepare_to_join(place)
        file.write_text(TOKEN)
        prepare_to_join(place)
        assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.slow  # the other kind of cluster has its test in the default run
def test_a_head_without_a_token_is_joined_whether_there_is_one_here_or_not(tmp_path, monkeypatch):
    with ray_head() as place:
        prepare_to_join(place)
        assert "RAY_AUTH_MODE" not in os.environ
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        prepare_to_join(place)
