"""The leaderboard file of a study and its TensorBoard runs, brought up to date from its ledger."""

from collections.abc import Sequence

from xlite.data.dataset import Dataset
from xlite.data.example_sheet import png_of
from xlite.data.view_sheet import view_sheet
from xlite.ledger import Ledger, TrialRecord
from xlite.ledger.objectives import objectives_of, scalars_of, tag_of
from xlite.report.leaderboard import leaderboard_of, write_leaderboard
from xlite.study.job import RUNS, TrialFolders
from xlite.study.manifest import metric_metadata
from xlite.study.options import Study
from xlite.study.plan import StudyPlan
from xlite.study.probes import choices
from xlite.train.hparams import PICTURES, add_columns, write_columns
from xlite.train.pictures import write_pictures


def update_leaderboard(ledger: Ledger, study: Study) -> None:
    """Bring `leaderboard.csv` and TensorBoard's columns up to date; of baselines those are their search's."""
    options = study.options
    add_columns(options.root / RUNS, (row.overrides for row in ledger.rows()))
    if options.phase == "search":
        write_leaderboard(options.folder / "leaderboard.csv", leaderboard_of(ledger))
        return
    with Ledger.open(options.storage, options.name, create=True, metadata=metric_metadata(study.task)) as search:
        write_leaderboard(options.root / "leaderboard.csv", leaderboard_of(search))


def show_views(plan: StudyPlan, dataset: Dataset) -> None:
    """Draw augmented training examples in TensorBoard, once a study: all its trials see the same views."""
    study, folder = plan.study, plan.study.options.root / RUNS
    if not (folder / PICTURES).exists():
        sheet = view_sheet(study.task.train_views(dataset, study.base), dataset.input_spec)
        text = f"The first training examples, and below each what students see of it: `{study.base.data.augmentation}`"
        write_pictures(folder, {"views/training examples": png_of(sheet)}, text)


def update_runs(plan: StudyPlan, folders: TrialFolders, ended: Sequence[TrialRecord]) -> None:
    """Write TensorBoard's columns, one set for a search and its baselines, and the ends that a killed driver missed."""
    options, space = plan.study.options, plan.candidates.space
    root = options.root
    objectives = objectives_of(options.objectives)
    tags = [tag_of(each) for each in objectives[1:]]
    write_columns(root / RUNS, choices(space), metric=plan.study.task.metric, more=tags)
    for row in ended:
        if folders.run(row.number, row.overrides).exists():  # an earlier version kept its events elsewhere
            epoch, scalars = max(row.curve, default=0), scalars_of(row, objectives)
            folders.record_end(row.number, row.overrides, state=row.state, epoch=epoch, scalars=scalars)
