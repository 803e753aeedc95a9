"""`xlite prepare --dry-run` opens a few of the examples: exit 2 with the first reason where none can be read."""

from pathlib import Path

import pytest
from image_cases import make
from image_cases.drawing import save

from xlite.commands.main import main


def dry_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """(exit code, stdout, stderr), each in one line."""
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--task", "images", "--data", str(folder), "--image-size", "32", "--dry-run"])
    out, err = capsys.readouterr()
    return ended.value.code, " ".join(out.split()), " ".join(err.split())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lfs_pointers", "a/0.png: only a Git LFS pointer, not the image; run git lfs pull in the data set"),
        ("dicom_multiframe", "a/000.dcm: 4 frames in one file; export each slice to its own file"),
    ],
)
def test_a_set_of_which_nothing_opens_is_refused_with_the_first_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    code, _, err = dry_run(make(name, tmp_path)[0], capsys)
    assert code == 2 and "none of the 16 examples that were opened can be read, e.g. " in err and reason in err


def test_a_decoder_that_is_missing_is_named_with_the_pip_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels import get_decoder

    monkeypatch.setattr(get_decoder("1.2.840.10008.1.2.4.70"), "_available", {})
    code, _, err = dry_run(make("dicom_jpeg_lossless", tmp_path)[0], capsys)
    assert code == 2 and "compressed as JPEG Lossless" in err and "pip install python-gdcm" in err


def test_those_that_do_not_open_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(16):
        save(tmp_path / "ab"[number % 2] / f"{number:02d}.png", number)
    for name in ("a/02.png", "b/03.png"):
        (tmp_path / name).write_text("<html>not found</html>")
    code, out, err = dry_run(tmp_path, capsys)
    assert code == 0 and not err
    assert "16 examples were read; 2 of the 16 opened cannot be read, e.g. " in out
    assert (
        "a/02.png: not an image: its first bytes are of no format that is read; nothing was cached, split or drawn"
        in out
    )
