"""Files are replaced atomically, and names cannot leave their folder."""

import pytest

from xlite.errors import InputError
from xlite.storage.files import atomic_write, double_buffered_write, read_json, spares_of, write_json
from xlite.storage.text import checked_name


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
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


def test_a_truncated_json_file_is_named(tmp_path):
    (tmp_path / "study.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"study\.json: not valid JSON"):
        read_json(tmp_path / "study.json")


def write_in_turn(path, text):
    with (
        double_buffered_write(path) as place,
        place.open("r+" if place.exists() else "w") as file,
    ):  # over it, as tensors are
        file.write(text)
        file.truncate()


def test_two_files_swap_roles_and_none_is_freed(tmp_path):
    path, numbers = tmp_path / "model", []
    for text in ("first", "second", "3rd", "the fourth"):
        write_in_turn(path, text)
        assert path.read_text() == text
        numbers.append(path.stat().st_ino)
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]
    assert spares_of(path)[0].read_text() == "3rd"
    assert sorted(tmp_path.iterdir()) == sorted([path, spares_of(path)[0]])


def test_a_failed_double_buffered_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model"
    for text in ("first", "second"):
        write_in_turn(path, text)
    with pytest.raises(RuntimeError), double_buffered_write(path) as place:
        place.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("killed_after", ["link", "first rename"])
def test_a_process_killed_between_the_renames_does_not_lose_the_file(tmp_path, killed_after):
    path = tmp_path / "model"
    for text in ("first", "second"):
        write_in_turn(path, text)
    spare, kept = spares_of(path)
    spare.write_text("third")
    kept.hardlink_to(path)
    if killed_after == "first rename":
        spare.replace(path)
    stands = path.read_text()
    with double_buffered_write(path) as place:
        assert path.read_text() == stands
        place.write_text("fourth")
        assert path.read_text() == stands
    assert path.read_text() == "fourth"


def test_a_backup_by_hard_links_does_not_change(tmp_path):
    path, backup = tmp_path / "model", tmp_path / "backup"
    write_in_turn(path, "first")
    backup.hardlink_to(path)
    for text in ("second", "third", "fourth"):
        write_in_turn(path, text)
    assert (backup.read_text(), path.read_text()) == ("first", "fourth")


def test_without_hard_links_the_file_is_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    for text in ("first", "second", "third"):
        write_in_turn(tmp_path / "model", text)
        assert (tmp_path / "model").read_text() == text
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
