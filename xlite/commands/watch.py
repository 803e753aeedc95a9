"""TensorBoard and Optuna's dashboard of a study, started and ended together."""

import argparse
import sys

from xlite.commands import cli
from xlite.commands.options import add_study_options
from xlite.console import Console

USUAL_PORTS = {"--port": 6006, "--dashboard-port": 8080}
"""Where TensorBoard and Optuna's dashboard are by themselves, and here unless another program is there."""


def parser() -> argparse.ArgumentParser:
    """Options of `xlite watch`."""
    out = cli.parser(
        "Show a study in TensorBoard (curves, hyper-parameters, pictures) and in Optuna's dashboard, also while it "
        "runs. Both listen on this machine alone, and end together: with Ctrl-C, or when one of them ends."
    )
    add_study_options(out, required=True)
    for (option, usual), what in zip(USUAL_PORTS.items(), ("TensorBoard", "Optuna's dashboard"), strict=True):
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
    given = {"--port": arguments.port, "--dashboard-port": arguments.dashboard_port}
    ports = choose_ports(given, USUAL_PORTS)
    for option, usual in USUAL_PORTS.items():
        if given[option] is None and ports[option] != usual:
            console.say(f"Port {usual} is taken, so {option} is {ports[option]}")
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
