"""The leaderboard file of a study, brought up to date from its ledger."""

from xlite.ledger import Ledger
from xlite.report.leaderboard import leaderboard_of, write_leaderboard
from xlite.study.manifest import metric_metadata
from xlite.study.options import Study


def update_leaderboard(ledger: Ledger, study: Study) -> None:
    """Bring `leaderboard.csv` up to date: a search's own; baselines stand in that of their search."""
    options = study.options
    if options.phase == "search":
        write_leaderboard(options.folder / "leaderboard.csv", leaderboard_of(ledger))
        return
    with Ledger.open(options.storage, options.name, create=True, metadata=metric_metadata(study.task)) as search:
        write_leaderboard(options.root / "leaderboard.csv", leaderboard_of(search))
