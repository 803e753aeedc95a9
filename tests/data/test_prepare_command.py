"""What `xlite prepare` says of a folder of images."""

from pathlib import Path

import pytest
from image_cases.drawing import save

from xlite.commands.main import main


def test_a_split_of_images_without_patients_is_not_said_to_be_by_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLITE_HOME", str(tmp_path / "home"))
    for number in range(40):
        save(tmp_path / "skin" / "ab"[number % 2] / f"{number:02d}.png", number)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--task", "images", "--data", str(tmp_path / "skin"), "--image-size", "32"])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "(split by image, since no patient is known to have several, seed 42)" in out
