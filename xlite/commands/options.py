"""Options that several commands share, and what they resolve to. Nothing heavy is imported for --help."""

import argparse
import os
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlite.commands import cli
from xlite.console import Console
from xlite.errors import InputError
from xlite.storage.folders import check_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xlite.config import DataConfig, RunConfig
    from xlite.tasks.prepare import DataRequest, Prepared
    from xlite.tasks.target_spec import TargetSpec
    from xlite.tasks.task import Task

THRESHOLDS = "f1"


def home() -> Path:
    """The folder that holds `data/` and `ray_results/`: XLITE_HOME, or the working directory."""
    return Path(os.environ.get("XLITE_HOME") or Path.cwd()).expanduser().resolve()


def phantoms() -> Path:
    """Where the built-in data sets are written."""
    return home() / "data" / "phantom"


def default_cache_dir() -> Path:
    """Where caches are kept without --cache-dir."""
    return home() / "data" / "cache"


def default_results() -> Path:
    """Where studies lie without --results."""
    return home() / "ray_results"


def space_file(given: Path | None, default: str) -> Path:
    """The absolute path of a search space: a file, or one of the shipped spaces by its name (`kd_grid`, `kd_grid.py`).

    Args:
        default: file name of the shipped space to use where none is given.

    Raises:
        InputError: `given` is a bare name that is neither a file here nor a shipped space.
    """
    package = Path(str(files("xlite")))
    shipped = package / "search_spaces"  # as installed; in a checkout they are at its top level
    if not shipped.is_dir():
        shipped = package.parent / "search_spaces"
    if given is None:
        return shipped / default
    path = given.expanduser().resolve()
    if path.exists() or given.name != str(given):
        return path
    named = shipped / f"{given.name.removesuffix('.py')}.py"
    if not named.is_file():
        names = ", ".join(sorted(file.stem for file in shipped.glob("*.py")))
        raise InputError(f"--space {given}: no such file; spaces that come with xlite: {names}")
    return named


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """--task, --data and everything that decides what the pixels and the parts are."""
    group = parser.add_argument_group("data")
    group.add_argument("--task", default="chestxray14", metavar="T", help="a task's name, or module:NAME of your own")
    group.add_argument(
        "--data", type=cli.path, metavar="DIR", help="folder of the raw data set (default: generated phantoms)"
    )
    group.add_argument(
        "--split",
        choices=("patient", "official", "image"),
        help="how train, val and test are drawn (default: patient, or what came with images)",
    )
    group.add_argument("--seed", type=cli.seed, default=42, metavar="N", help="seed of split, sampler and training")
    group.add_argument(
        "--image-size",
        type=cli.positive_int,
        metavar="N",
        help="side in px; of scan lines, points (default: the task's)",
    )
    group.add_argument(
        "--cache-dir", type=cli.path, metavar="DIR", help="pixel caches, splits, teachers (default: data/cache)"
    )
    add_folder_options(parser)
    group.add_argument(
        "--guarantee-share",
        type=cli.inner_share,
        metavar="F",
        help="hold out this share of the training patients from all training and selection; with them a promotion's "
        "--thresholds sensitivity=F or precision=F is a guarantee (default: none held out)",
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="go on with more than 1%% of the images missing or unreadable"
    )


def cache_dir(arguments: argparse.Namespace) -> Path:
    """The absolute path of `--cache-dir`, or of its default."""
    return arguments.cache_dir or default_cache_dir()


def storage_url(text: str) -> str:
    """The URL of a database; the path of an SQLite file is taken from the working directory."""
    from xlite.ledger.rdb import absolute_url

    try:
        return absolute_url(text, Path.cwd())
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--storage: ")) from None


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """What a person can say of a folder of labelled images (task images)."""
    group = parser.add_argument_group("task images", "How the folder is read; all of it is recognised unless said.")
    group.add_argument("--layout", metavar="L", help="a known data set's layout by name, or none: read it plainly")
    group.add_argument("--table", metavar="FILE", help="the label table in the folder, or none: folders are classes")
    group.add_argument("--file-column", metavar="C", help="the table's column of file names")
    group.add_argument(
        "--label-column",
        nargs="+",
        action="extend",
        metavar="C",
        help="the column or columns of labels (again for more)",
    )
    group.add_argument("--group-column", metavar="C", help="rows of one group stay on one side of a split, or none")
    group.add_argument("--split-column", metavar="C", help="the column of given parts, or none: draw a new split")
    group.add_argument("--kind", choices=("binary", "multilabel", "multiclass"), help="what the labels are")
    group.add_argument("--positive", metavar="NAME", help="of two classes, the one that is 1")
    group.add_argument(
        "--uncertain",
        choices=("ignore", "positive", "negative", "error"),
        help="what -1 among labels of 0 and 1 means (default: ignore)",
    )
    group.add_argument(
        "--unknown", nargs="+", action="extend", metavar="WORD", help="further words for unknown, e.g. 9; or none"
    )
    group.add_argument("--threshold-labels", type=float, metavar="F", help="labels are numbers: from F on they are 1")
    group.add_argument(
        "--class-level", type=cli.positive_int, metavar="N", help="which folders are the classes; 1: the topmost"
    )


def add_subset_option(parser: "argparse._ActionsContainer") -> None:
    """--subset."""
    parser.add_argument(
        "--subset",
        default="auto",
        metavar="auto|F",
        help="share of the training images; auto: 0.2 above 20,000, else all",
    )


def add_set_option(parser: "argparse._ActionsContainer") -> None:
    """--set KEY=VALUE, any number of times."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="fix a configuration key, e.g. data.augmentation=light (again for more)",
    )


def add_study_options(parser: argparse.ArgumentParser, *, required: bool, writes: bool = False) -> None:
    """--study, --results and --storage; --adopt for what writes into the ledger."""
    group = parser.add_argument_group("study")
    text = "the study's name" if required else "the study's name; the same name continues it (default: date and time)"
    group.add_argument("--study", required=required, metavar="NAME", help=text)
    add_results_option(group)
    group.add_argument(
        "--storage",
        type=storage_url,
        metavar="URL",
        help="database of the ledger (default: the study's, or study.db in its folder)",
    )
    if writes:
        group.add_argument(
            "--adopt", action="store_true", help="first make a copied study one of its own, with the trials so far"
        )


def add_results_option(parser: "argparse._ActionsContainer", what: str = "where studies lie") -> None:
    """--results."""
    parser.add_argument("--results", type=cli.output_dir, default=default_results(), metavar="DIR", help=what)


def add_place_options(parser: "argparse._ActionsContainer", *, teacher: bool = False) -> None:
    """--data, --cache-dir and perhaps --teacher of a study whose files may have been moved."""
    parser.add_argument("--data", type=cli.path, metavar="DIR", help="the raw data set (default: the study's)")
    parser.add_argument("--cache-dir", type=cli.path, metavar="DIR", help="caches (default: the study's, if there)")
    if teacher:
        parser.add_argument(
            "--teacher", type=cli.path, nargs="+", default=[], metavar="FILE", help="its teacher (default: the study's)"
        )


def add_promotion_options(parser: "argparse._ActionsContainer", *, of: str, repeats: int | None = None) -> None:
    """How the winner is trained again, tested and packaged; `of` says in the help whose settings are the defaults."""
    parser.add_argument(
        "--folds",
        type=cli.positive_int,
        metavar="K",
        help=f"promote an ensemble of K models, each judged on the fold it did not see (default: {of})",
    )
    parser.add_argument(
        "--repeats",
        type=cli.positive_int,
        default=repeats,
        metavar="R",
        help=f"deal the folds R times, each time anew, and promote all R x K models (default: {repeats or of})",
    )
    parser.add_argument(
        "--thresholds",
        type=cli.threshold_method,
        metavar="f1|youden|sensitivity=F|precision=F",
        help=f"what a label's threshold maximises on validation, or is to reach (default: {THRESHOLDS})",
    )
    parser.add_argument(
        "--promote-top",
        type=cli.positive_int,
        metavar="K",
        help="train the K best trials again and promote the one that is best then (default: as many of 3 trials with 3 "
        "seeds each as take no longer than the search; without --data 1 and 1)",
    )
    parser.add_argument(
        "--promote-seeds",
        type=cli.positive_int,
        metavar="S",
        help="train each of them with S seeds; the model with the study's own seed is promoted",
    )
    parser.add_argument(
        "--again", action="store_true", help="read the test part although it has been read, and count that"
    )
    parser.add_argument(
        "--no-package", action="store_true", help="end without the ONNX package; `xlite package` writes it later"
    )


def check_thresholds(method: str | None, target_spec: "TargetSpec") -> None:
    """Refuse a method that was asked for where thresholds do not apply.

    Raises:
        InputError: of classes the most probable one is predicted; kinds of one's own choose by F1 or Youden's J.
    """
    if method and target_spec.answers_are == "classes":
        raise InputError(
            f"--thresholds {method}: of {target_spec.kind} targets the most probable class is predicted; leave it out"
        )
    if method and "=" in method and target_spec.answers_are != "labels":
        raise InputError(f"--thresholds {method}: {target_spec.kind} targets take f1 or youden")


def settings(arguments: argparse.Namespace, **own: str) -> dict[str, Any]:
    """`--set` assignments, with `--image-size` as one of them.

    Args:
        own: the command's own options for keys of the section "train", by key: `epochs="--max-epochs"`.

    Raises:
        InputError: a key is set that has an option, which other parts of the run follow, too.
    """
    from xlite.config import parse_assignment

    out = dict(parse_assignment(text) for text in arguments.assignments)
    for key, option in own.items():
        if f"train.{key}" in out:
            raise InputError(f"--set train.{key}: use {option}")
    if arguments.image_size is not None:
        if out.get("data.image_size", arguments.image_size) != arguments.image_size:
            raise InputError("--set data.image_size and --image-size differ; leave one out")
        out["data.image_size"] = arguments.image_size
    pretrained = {"yes": True, "no": False}.get(arguments.pretrained)
    if pretrained is not None and out.get("model.pretrained", pretrained) != pretrained:
        raise InputError("--set model.pretrained and --pretrained differ; leave one out")
    return out


def tell_unread(keys: "Iterable[str]", config: "RunConfig", task: "Task", console: Console) -> None:
    """A line for each of these keys, set by an option, that a run of `config` does not read."""
    from xlite.train.canonical import unread_keys

    for key in unread_keys(keys, [config], task.target_spec):
        console.say(f"{key} is set, but this run does not read it")


def open_configured(
    arguments: argparse.Namespace, console: Console, configure: "Callable[[Task], RunConfig]", *, subset: str = "1.0"
) -> "tuple[Prepared, RunConfig]":
    """The prepared data of `--task` and `--data`, and the configuration of a run on it.

    Args:
        configure: gives a task's configuration; asked again only where the data decides what the task's targets are.
    """
    from xlite.tasks import find_task

    task = find_task(arguments.task)
    config = configure(task)
    request = data_request(arguments, task, console, data=config.data, subset=subset)
    prepared = prepare_and_tell(task, request, console)
    return prepared, config if prepared.task is task else configure(prepared.task)


def data_request(
    arguments: argparse.Namespace, task: "Task", console: Console, *, data: "DataConfig", subset: str = "1.0"
) -> "DataRequest":
    """Which data was asked for; the phantom set is written where none was."""
    from xlite.tasks.prepare import DataRequest

    place = cache_dir(arguments)
    check_folder(place, "name another folder with --cache-dir, or with XLITE_HOME for all data and results")
    return DataRequest(
        folder=phantom_folder(task, console) if arguments.data is None else checked_data(arguments.data),
        data=data,
        split=arguments.split,
        seed=arguments.seed,
        subset=subset,
        cache_dir=place,
        allow_missing=arguments.allow_missing,
        guarantee_share=arguments.guarantee_share,
        column_overrides=column_overrides(arguments),
        outer=vars(arguments).get("outer", ()),  # of a nested search only
    )


def phantom_folder(task: "Task", console: Console) -> Path:
    """The task's phantom set, written if it is not there yet; an InputError if the task has none."""
    if task.write_phantom is None:
        raise InputError(f"task {task.name}: there is no built-in data set; name a folder with --data")
    with console.progress("Writing phantom images", "images") as progress:
        folder = task.write_phantom(phantoms(), progress)
    console.say(f"No --data: working on phantom images, made in {shown(folder)}")
    return folder


def checked_data(folder: Path) -> Path:
    """The folder that --data names; an InputError if it is none."""
    if not folder.is_dir():
        raise InputError(f"--data {folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'}")
    return folder


def prepare_and_tell(task: "Task", request: "DataRequest", console: Console) -> "Prepared":
    """Prepare the data and say what it is."""
    from xlite.tasks.prepare import prepare

    prepared = prepare(task, request, console)
    sizes = ", ".join(f"{len(rows):,} {part.replace('_', ' ')}" for part, rows in prepared.full.parts.items())
    console.say(
        f"{task.title}: {sizes} examples at {request.data.image_size} px (split by {prepared.split_basis}, "
        f"seed {request.seed})"
    )
    if request.outer:
        console.say("Outer fold {} of {} is the test part: this search never sees it".format(*request.outer))
    if prepared.subset_share < 1:
        num = len(prepared.search.parts["train"])
        console.say(f"Searching on {num:,} of the training examples ({prepared.subset_share:.0%}, stratified)")
    return prepared


def column_overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said of a folder of labelled images, by option name."""
    names = (
        "layout", "table", "file-column", "label-column", "group-column", "split-column", "kind", "positive",
        "uncertain", "unknown", "threshold-labels", "class-level",
    )  # fmt: skip
    values = {name: getattr(arguments, name.replace("-", "_")) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def study_command(name: str, folder: Path, *more: str) -> str:
    """A command on the study in `folder`, as a person would type it from here."""
    elsewhere = () if folder.parent == default_results() else ("--results", shown(folder.parent))
    return shlex.join(["xlite", name, "--study", folder.name, *elsewhere, *more])


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
