"""TensorBoard and Optuna's dashboard of a study, started and ended together."""

import argparse
import sys

from xlite.commands import cli
from xlite.commands.options import home, storage_url
from xlite.console import Console

TENSORBOARD_PORT, DASHBOARD_PORT = 6006, 8080
"""Where each of them is by itself, and here unless another program is there."""


def parser() -> argparse.ArgumentParser:
    """Options of `xlite watch`."""
    out = cli.parser(
        "Show a study in TensorBoard (curves, hyper-parameters, pictures) and in Optuna's dashboard, also while it "
        "runs. Both listen on this machine alone, and end together: with Ctrl-C, or when one of them ends."
    )
    out.add_argument("--study", required=True, metavar="NAME", help="the study's name")
    out.add_argument(
        "--results", type=cli.results_dir, default=home() / "ray_results", metavar="DIR", help="where studies lie"
    )
    out.add_argument("--storage", type=storage_url, metavar="URL", help="database of the ledger (default: the study's)")
    for option, what, usual in (
        ("--port", "TensorBoard", TENSORBOARD_PORT),
        ("--dashboard-port", "Optuna's dashboard", DASHBOARD_PORT),
    ):
        text = f"port of {what} (default: {usual}, or a free one where that is taken)"
        out.add_argument(option, type=cli.port, metavar="N", help=text)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Find the study, choose the ports, and run both servers until they are no longer wanted."""
    folder = cli.existing_study_folder(arguments.results, arguments.study)
    from xlite.ledger import open_to_read, secrets_of
    from xlite.study.watch import ServerEnded, check_installed, choose_ports, dashboard, tensorboard, watch

    console = Console()
    check_installed(("tensorboard", "optuna-dashboard"))
    with open_to_read(folder, arguments.storage) as ledger:
        storage, study_id = ledger.url, ledger.study_id
    usual = {"--port": TENSORBOARD_PORT, "--dashboard-port": DASHBOARD_PORT}
    ports = choose_ports({"--port": arguments.port, "--dashboard-port": arguments.dashboard_port}, usual)
    for option, given in (("--port", arguments.port), ("--dashboard-port", arguments.dashboard_port)):
        if given is None and ports[option] != usual[option]:
            console.say(f"Port {usual[option]} is taken, so {option} is {ports[option]}")
    servers = (
        tensorboard(folder, ports["--port"]),
        dashboard(storage, study_id, ports["--dashboard-port"], secrets=secrets_of(storage)),
    )
    try:
        watch(servers, console.say)
    except ServerEnded as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
