"""A file is replaced whole or not at all, and names cannot leave their folder."""

import pytest

from xlite.errors import InputError
from xlite.files import checked_name, read_json, replacing, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_refused_since_other_readers_cannot_parse_it(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "ü", "x" * 129, "a\nb"])
def test_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(InputError, match="study name"):
        checked_name(name, "study name")


def test_a_cut_short_json_is_named(tmp_path):
    (tmp_path / "study.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"study\.json: not valid JSON"):
        read_json(tmp_path / "study.json")
