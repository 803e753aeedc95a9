"""A file cut short is noticed by its size or its hash: made again, or refused in one line that names it."""

import csv
import shutil

import pytest
from harness import NUM_TRIALS, Place, Run, make_home

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
REBUILT = {
    "leaderboard": "results/s/leaderboard.csv",
    "pixel cache": "cache/*/pixels.npy",
    "teacher": "cache/teachers/*/teacher.safetensors",
    "bank": "cache/banks/*/logits.npy",
}
"""What is made again from what it was made of."""


def run(place):
    process = Run(place)
    try:
        return process.wait(), process.output()
    finally:
        process.end()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that has ended; a test that changes it works on a copy."""
    place = Place(make_home(tmp_path_factory.mktemp("damaged")), "whole", more=("--no-promote",))
    code, output = run(place)
    assert code == 0, output
    return place


def find(place, pattern):
    (file,) = place.root.glob(pattern)
    return file


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rows(place):
    with (place.study / "leaderboard.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "date"} for row in csv.DictReader(file)]


def test_what_can_be_made_again_comes_back_to_the_bit(finished):
    before = {what: find(finished, pattern).read_bytes() for what, pattern in REBUILT.items()}
    told = rows(finished)
    for pattern in REBUILT.values():
        cut(find(finished, pattern))
    code, output = run(finished)
    assert code == 0 and f"{NUM_TRIALS} trials are there, 0 to go" in output, output
    assert rows(finished) == told
    for what, pattern in REBUILT.items():
        if what != "leaderboard":
            assert find(finished, pattern).read_bytes() == before[what], what
    for made in ("Preparing images: 48 images", "Training the teacher", "Asking the teacher about every view"):
        assert made in output


@pytest.mark.parametrize(("name", "line"), [("study.json", "not valid JSON"), ("study.db", "study.db")])
def test_a_record_cut_short_is_refused_and_left_as_it_is(finished, name, line):
    place = Place(finished.home, f"cut-{name}", more=finished.more)
    shutil.copytree(finished.study, place.study)
    for beside in ("study.db-wal", "study.db-shm"):
        (place.study / beside).unlink(missing_ok=True)
    cut(place.study / name)
    left = (place.study / name).read_bytes()
    code, output = run(place)
    errors = [text for text in output.splitlines() if text.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and name in errors[0] and line in errors[0], output
    assert "Traceback" not in output
    assert (place.study / name).read_bytes() == left
