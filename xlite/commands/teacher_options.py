"""The options of a teacher that several commands share, and what they resolve to."""

import argparse
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.study.options import TeacherRequest


def add_teacher_options(parser: "argparse._ActionsContainer") -> None:
    """--teacher and what is said of it."""
    parser.add_argument(
        "--teacher",
        type=cli.path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="one, or several to average: models of `xlite teacher`, .onnx files, tables of answers",
    )
    parser.add_argument(
        "--teacher-answers",
        choices=("logits", "probabilities"),
        help="what a table of answers (.csv, .parquet) holds, unless a JSON beside it says so",
    )
    parser.add_argument(
        "--teacher-weights",
        type=cli.positive_float,
        nargs="+",
        default=[],
        metavar="W",
        help="of several teachers' mean (default: all alike)",
    )
    parser.add_argument(
        "--teacher-trained-on",
        type=cli.path,
        nargs="+",
        default=[],
        metavar="LIST",
        help="text files of the images or patients it has seen, one a line: refused if any is validated or tested on",
    )
    parser.add_argument(
        "--allow-other-split",
        action="store_true",
        help="take a teacher that has seen, or may have seen, validation or test images",
    )


def teacher_request(arguments: argparse.Namespace) -> "TeacherRequest":
    """The teacher asked for.

    Raises:
        InputError: an option has nothing to act on, or the weights are not one for each file.
    """
    from xlite.study.options import TeacherRequest

    files = tuple(arguments.teacher)
    for option in ("allow_other_split", "teacher_answers", "teacher_weights", "teacher_trained_on"):
        if getattr(arguments, option) and not files:
            name = f"--{option.replace('_', '-')}"
            raise InputError(f"{name} is for a teacher that is given; give --teacher too, or leave it out")
    if arguments.teacher_weights and len(arguments.teacher_weights) != len(files):
        raise InputError(f"--teacher-weights: {len(arguments.teacher_weights)} for {len(files)} teacher(s)")
    if arguments.teacher_answers and not any(file.suffix in (".csv", ".parquet", ".npz") for file in files):
        raise InputError("--teacher-answers says what a table of answers holds, and no --teacher is one; leave it out")
    return TeacherRequest(
        files=files,
        answers=arguments.teacher_answers,
        weights=tuple(arguments.teacher_weights),
        trained_on=tuple(arguments.teacher_trained_on),
        allow_other_split=arguments.allow_other_split,
    )
