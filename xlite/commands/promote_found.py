"""What a search found, promoted at its end: the winner or the front, in the time that is left."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands.options import THRESHOLDS, study_command
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.ledger import TrialRecord
    from xlite.study.options import Study, StudyOptions
    from xlite.study.promotion_size import PromotionSize
    from xlite.study.time_budget import TimeBudget
    from xlite.tasks.prepare import Prepared
    from xlite.tune.study import StudyResult


def promote_all(
    study: "Study",
    prepared: "Prepared",
    result: "StudyResult",
    arguments: argparse.Namespace,
    time_budget: "TimeBudget",
    console: Console,
) -> bool:
    """Promote what `--promote` says; whether all of it was."""
    from xlite.ledger.objectives import front_of, knee_of, objectives_of

    rows, folder = result.ledger.rows(), study.options.folder / "promoted"
    objectives = objectives_of(study.options.objectives)
    knee = None if arguments.promote == "best" else knee_of(rows, objectives)
    if knee is None:
        return promote_in_time(study, prepared, result, rows, folder, arguments, time_budget, console)
    if arguments.promote != "front":
        return promote_in_time(study, prepared, result, [knee], folder, arguments, time_budget, console)
    front = front_of(rows, objectives)
    numbers = ", ".join(str(row.number) for row in front)
    done = {final.promotion.promoted_from for final in result.ledger.finals() if final.promotion}
    # by this command, where it was ended before all were done
    begun = {row.number for row in front if (folder / f"{row.number:05d}").is_dir()}
    own = {f"promotion of trial {number}" for number in begun}
    read = any(each.command not in own for each in result.ledger.test_reads())
    if read and not arguments.again and not done >= {row.number for row in front}:
        raise InputError(
            f"study {study.options.root.name}: its test part has been read; promoting the front, trials {numbers}, "
            "reads it again for each; give --again"
        )
    console.say(f"Promoting the front, trials {numbers}: each reads the test part, and that is counted")
    arguments.again = True
    ended = []
    for row in front:
        place = folder / f"{row.number:05d}"
        ended.append(promote_in_time(study, prepared, result, [row], place, arguments, time_budget, console))
    return all(ended)


def promote_in_time(
    study: "Study",
    prepared: "Prepared",
    result: "StudyResult",
    rows: "Sequence[TrialRecord]",
    promoted: Path,
    arguments: argparse.Namespace,
    time_budget: "TimeBudget",
    console: Console,
) -> bool:
    """Promote the best of `rows`; False, and the command that does it later is named, where the time does not suffice.

    Args:
        promoted: the package's folder.
    """
    from xlite.commands.promote import promote_and_tell
    from xlite.study.promotion_size import promotion_size
    from xlite.study.time_budget import OutOfTime

    options = study.options
    left_s = time_budget.left_s()
    size = promotion_size(
        study,
        prepared,
        rows,
        num_folds=options.num_folds,
        limit_s=left_s,
        top=1 if len(rows) == 1 else options.promote_top,
        num_seeds=options.promote_seeds,
    )
    if size.seconds >= left_s:
        reason = f"promotion takes about {size.seconds:.0f} s and {max(left_s, 0.0):.0f} s are left"
    else:
        if size.num_seeds > 1 or len(size.trials) > 1:
            console.say(size.describe())
        num_recorded = len(result.ledger.finals())
        try:
            with time_budget.alarm():
                promote_and_tell(
                    study,
                    prepared,
                    result.teacher.teacher if result.teacher else None,
                    result.ledger,
                    size,
                    epochs=options.promote_epochs,
                    num_folds=options.num_folds,
                    threshold_method=arguments.thresholds or THRESHOLDS,
                    again=arguments.again,
                    packages=not arguments.no_package,
                    console=console,
                    folder=promoted,
                )
            return True
        except OutOfTime:
            if len(result.ledger.finals()) > num_recorded:
                _tell_of_package(promoted, arguments, options, console)
                return True
            reason = "promotion did not end in time; what is trained is kept"
    again = "The same command promotes the rest of the front"
    if promoted.name == "promoted":
        numbers = ", ".join(str(trial.number) for trial in size.trials)
        again = f"To promote trial {numbers}: {promote_command(arguments, options, size)}"
    console.say(f"--promote-reserve: {reason}. {again}")
    return False


def _tell_of_package(promoted: Path, arguments: argparse.Namespace, options: "StudyOptions", console: Console) -> None:
    """Where the time ended after the promotion did: the command that writes the package, if that is missing."""
    from xlite.package.manifest import is_package

    if not arguments.no_package and not is_package(promoted):
        again = study_command("package", options.folder)
        console.say(f"--promote-reserve: the model is promoted, but not packaged in time. To do so: {again}")


def promote_command(arguments: argparse.Namespace, options: "StudyOptions", size: "PromotionSize") -> str:
    """The command that makes this promotion, as a person would type it; study.json has all else."""
    num_trials = len(size.trials)
    words = ["--trial", str(size.trials[0].number)] if num_trials == 1 else ["--promote-top", str(num_trials)]
    if size.num_seeds > 1:
        words += ["--promote-seeds", str(size.num_seeds)]
    if arguments.thresholds:
        words += ["--thresholds", arguments.thresholds]
    words += ["--again"] if arguments.again else []
    words += ["--no-package"] if arguments.no_package else []
    return study_command("promote", options.folder, *words)
