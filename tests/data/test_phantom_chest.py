"""The chest phantom: NIH's layout, the same bytes every time, and each finding visible where it belongs."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_dataset import phantom_folder, write_phantom
from xlite.data.phantom.chest_records import FINDINGS, PREVALENCE, Picture, correlation, draw_patient, draw_records
from xlite.errors import InputError

TABLE = "Data_Entry_2017_v2020.csv"
REAL_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
# Where a finding may change the picture most: (left, right, top, bottom) in shares of the picture.
REGIONS = {
    "Atelectasis": (0.1, 0.9, 0.4, 0.85),
    "Cardiomegaly": (0.25, 0.85, 0.3, 0.85),
    "Consolidation": (0.1, 0.9, 0.15, 0.8),
    "Edema": (0.25, 0.75, 0.2, 0.65),
    "Effusion": (0.05, 0.95, 0.5, 0.9),
    "Emphysema": (0.1, 0.9, 0.5, 0.9),
    "Fibrosis": (0.05, 0.95, 0.4, 0.85),
    "Hernia": (0.3, 0.7, 0.5, 0.85),
    "Infiltration": (0.1, 0.9, 0.2, 0.85),
    "Mass": (0.1, 0.9, 0.15, 0.8),
    "Nodule": (0.1, 0.9, 0.15, 0.8),
    "Pleural_Thickening": (0.05, 0.95, 0.05, 0.8),
    "Pneumonia": (0.1, 0.9, 0.1, 0.85),
    "Pneumothorax": (0.1, 0.9, 0.05, 0.8),
}


def chest(findings: dict[str, float], *, patient: int = 1, follow_up: int = 0, image_px: int = 256) -> np.ndarray:
    return draw_chest(Picture(patient, follow_up, findings), seed=0, image_px=image_px)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = phantom_folder(tmp_path_factory.mktemp("phantom"), num_images=24, image_px=64, seed=3)
    write_phantom(folder, num_images=24, image_px=64, seed=3, num_threads=1)
    return folder


def test_table_and_files_have_nih_layout(small: Path) -> None:
    raw = (small / TABLE).read_bytes()
    assert raw.startswith(REAL_HEADER.encode() + b"\r\n")
    table = pd.read_csv(small / TABLE)
    assert table["Image Index"].str.fullmatch(r"\d{8}_\d{3}\.png").all()
    assert set(table["View Position"]) == {"PA", "AP"} and set(table["Patient Gender"]) == {"F", "M"}
    names = {name for cell in table["Finding Labels"] for name in cell.split("|")}
    assert names <= {*FINDINGS, "No Finding"}
    assert sorted(table["Image Index"]) == sorted(path.name for path in (small / "images_001/images").iterdir())
    pixels = cv2.imread(str(small / "images_001/images/00000001_000.png"), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (64, 64) and pixels.dtype == np.uint8


def test_header_is_the_real_one() -> None:
    real = Path(__file__).resolve().parents[2].parent / "shared/data/nih_mini" / TABLE
    if not real.is_file():
        pytest.skip(f"no real data at {real}")
    assert real.read_text().splitlines()[0] == REAL_HEADER


def test_official_lists_keep_patients_whole(small: Path) -> None:
    lists = [(small / name).read_text().split("\n") for name in ("train_val_list.txt", "test_list.txt")]
    patients = [{name[:8] for name in names} for names in lists]
    assert all(lists) and not patients[0] & patients[1]
    assert sorted(lists[0] + lists[1]) == sorted(pd.read_csv(small / TABLE)["Image Index"])


def test_some_pictures_are_rgba_with_the_same_grey(tmp_path: Path) -> None:
    names = [picture.name for picture in draw_records(300, 6) if picture.rgba]
    assert 1 <= len(names) <= 10
    write_phantom(tmp_path / "set", num_images=300, image_px=64, seed=6)
    pixels = cv2.imread(str(tmp_path / "set/images_001/images" / names[0]), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (64, 64, 4)
    assert (pixels[..., 0] == pixels[..., 2]).all() and (pixels[..., 3] == 255).all()


def test_same_bytes_with_two_threads(small: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "again", num_images=24, image_px=64, seed=3, num_threads=2)
    assert contents(tmp_path / "again") == contents(small)


def test_same_bytes_in_another_process(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from xlite.data.phantom.chest_dataset import write_phantom; "
        "write_phantom(Path(sys.argv[1]), num_images=24, image_px=64, seed=3)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True)
    assert contents(tmp_path / "other") == contents(small)


def test_another_seed_gives_other_pictures(small: Path) -> None:
    here, there = (draw_chest(Picture(1, 0, {}), seed=seed, image_px=64) for seed in (3, 4))
    assert np.abs(here.astype(int) - there).mean() > 5
    assert [p.labels for p in draw_records(60, 3)] != [p.labels for p in draw_records(60, 4)]


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    assert draw_records(50, 0)[:20] == draw_records(20, 0)


def test_follow_ups_share_the_anatomy() -> None:
    def look(patient: int, follow_up: int) -> np.ndarray:
        film = cv2.resize(chest({}, patient=patient, follow_up=follow_up, image_px=128), (32, 32)).astype(float)
        return (film - film.mean()) / film.std()

    first, second = ([look(p, k) for p in range(1, 17)] for k in (0, 1))
    same = np.mean([np.abs(a - b).mean() for a, b in zip(first, second, strict=True)])
    other = np.mean([np.abs(a - b).mean() for a, b in zip(first, second[1:] + second[:1], strict=True)])
    assert 0 < same < 0.9 * other


def test_prevalences_are_near_the_target() -> None:
    records = draw_records(4000, 1)
    shares = {name: np.mean([name in p.severities for p in records]) for name in FINDINGS}
    for name, target in PREVALENCE.items():
        assert abs(shares[name] - target) < 0.1 * target + 0.008, name
    assert max(shares, key=shares.__getitem__) == "Infiltration" and min(shares, key=shares.__getitem__) == "Hernia"
    assert 0.40 < np.mean([not p.severities for p in records]) < 0.48
    wrong = np.mean([set(p.labels) != set(p.severities) for p in records])
    assert 0.012 < wrong < 0.03


def test_the_default_set_has_at_least_15_of_every_finding() -> None:
    records = draw_records(1200, 0)
    counts = {name: sum(name in p.labels for p in records) for name in FINDINGS}
    assert min(counts.values()) >= 15, counts


def test_findings_are_correlated_as_in_nih() -> None:
    records = draw_records(4000, 2)
    found = {name: np.array([name in p.severities for p in records]) for name in FINDINGS}

    def lift(a: str, b: str) -> float:
        return float((found[a] & found[b]).mean() / (found[a].mean() * found[b].mean()))

    assert lift("Edema", "Pneumonia") > 3 and lift("Emphysema", "Pneumothorax") > 3 and lift("Mass", "Nodule") > 1.5
    assert lift("Cardiomegaly", "Pneumothorax") < 0.8
    assert np.linalg.eigvalsh(correlation()).min() > 0.1


def test_patients_come_back_and_findings_persist() -> None:
    patients = [draw_patient(0, number) for number in range(1, 1501)]
    assert 1.5 < np.mean([len(p) for p in patients]) < 1.75
    assert max(len(p) for p in patients) == 8
    pairs = [(a, b) for p in patients for a, b in pairwise(p)]
    stays = [name in b.severities for a, b in pairs for name in a.severities]
    assert 0.42 < np.mean(stays) < 0.65
    assert all(a.age <= b.age <= a.age + 1 and a.female == b.female for a, b in pairs)


@pytest.mark.parametrize("patient", [5, 12])
@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_picture_where_it_belongs(name: str, patient: int) -> None:
    """The same patient with and without it, mild: the change beats the grain by far and lies where the sign belongs."""
    plain = chest({}, patient=patient).astype(np.float32)
    change = cv2.blur(np.abs(chest({name: 0.2}, patient=patient) - plain), (9, 9))
    grain = plain[100:160, 60:100] - cv2.blur(plain, (5, 5))[100:160, 60:100]
    y, x = np.unravel_index(change.argmax(), change.shape)
    left, right, top, bottom = REGIONS[name]
    assert change.max() > max(15, 3 * grain.std())
    assert left * 256 <= x <= right * 256 and top * 256 <= y <= bottom * 256
    assert change[:12].mean() < 1 and change[:128, :6].mean() < 1  # nothing outside the body


def test_a_finding_does_not_move_with_the_follow_up() -> None:
    """Seen from the anatomy: its place is the patient's; only position, exposure and severity change."""
    changes = []
    for follow_up in (0, 1):
        plain, mass = (chest(f, patient=7, follow_up=follow_up).astype(float) for f in ({}, {"Mass": 0.5}))
        y, x = np.nonzero(np.abs(mass - plain) > 10)
        changes.append((x.mean(), y.mean()))
    assert np.hypot(*np.subtract(*changes)) < 25


def test_more_severe_is_more_visible() -> None:
    plain = chest({}).astype(int)
    for name in FINDINGS:
        mild, grave = (np.abs(chest({name: s}) - plain).mean() for s in (0.05, 0.95))
        assert grave > 1.1 * mild, name


def test_the_mildest_nodule_is_visible_at_64_px() -> None:
    clahe = cv2.createCLAHE(2.0, (8, 8))
    for patient in range(1, 9):
        small = [
            cv2.resize(clahe.apply(chest(f, patient=patient)), (64, 64), interpolation=cv2.INTER_AREA).astype(int)
            for f in ({}, {"Nodule": 0.0})
        ]
        assert (np.abs(small[1] - small[0]) > 15).sum() >= 4, patient


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 20
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "set", num_images=20, image_px=64, num_threads=1, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".set.0badcafe.tmp" / "images_001").mkdir(parents=True)
    write_phantom(tmp_path / "set", num_images=10, image_px=64, num_threads=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]


def test_a_complete_set_is_left_untouched(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    write_phantom(small, num_images=24, image_px=64, seed=3, progress=lambda done, total: pytest.fail("drew again"))
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_a_folder_with_something_else_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for folder in (small, tmp_path / "mine"):
        with pytest.raises(InputError, match=f"{folder.name}.*use another folder"):
            write_phantom(folder, num_images=24, image_px=64, seed=4)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "wrong", [{"num_images": 9}, {"image_px": 32}, {"image_px": 130}, {"seed": -1}], ids=lambda wrong: str(wrong)
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_phantom(tmp_path / "set", **wrong)
    assert not list(tmp_path.iterdir())


def test_folder_name_tells_the_parameters() -> None:
    assert phantom_folder(Path("r"), num_images=12, image_px=64, seed=5) == Path("r/chest-12x64-s5-v1")


def test_a_row_without_findings_says_no_finding() -> None:
    picture = Picture(7, 2, {}, (), 50, True, False, False)
    assert picture.row() == "00000007_002.png,No Finding,2,7,50,F,PA,2500,2500,0.168,0.168"
