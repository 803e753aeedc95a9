"""The STM phantom: the same bytes each time, the seed's class shares, and classes that need neighbouring lines."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score

from xlite.data.phantom.stm import LABELS, SHARES, draw_tip, stm_phantom_folder, write_stm_phantom
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.sources.stm import read_stm
from xlite.errors import InputError

NUM_SCANS = 40


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = stm_phantom_folder(tmp_path_factory.mktemp("phantom"), num_scans=NUM_SCANS)
    write_stm_phantom(folder, num_scans=NUM_SCANS)
    return folder


def write_small(root, *, num_scans=10, seed=0):
    folder = stm_phantom_folder(root, num_scans=num_scans, lines=32, points=32, seed=seed)
    write_stm_phantom(folder, num_scans=num_scans, lines=32, points=32, seed=seed)
    return folder


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_reader_takes_it(phantom):
    parsed = read_stm(phantom)
    assert parsed.table.labels == LABELS and not parsed.excluded and not parsed.notes
    assert parsed.table.targets.shape == (NUM_SCANS * 4, 32, 4)
    assert len(np.unique(parsed.table.groups)) == NUM_SCANS // 2
    known = np.isfinite(parsed.table.targets).all(axis=2)
    assert 0.97 < known.mean() < 1


def test_class_shares_are_those_of_the_weights():
    labels = np.concatenate([draw_tip(np.random.default_rng(seed), 128).labels for seed in range(300)])
    np.testing.assert_allclose(np.bincount(labels) / len(labels), SHARES, atol=0.02)
    np.testing.assert_allclose(1 / (4 * np.array(SHARES)), [0.569, 0.823, 2.845, 1.478], rtol=0.03)


def test_bytes_depend_only_on_the_parameters(tmp_path):
    one = contents(write_small(tmp_path / "one"))
    assert one == contents(write_small(tmp_path / "two"))
    other = contents(write_small(tmp_path / "three", seed=1))
    assert one.keys() == other.keys() and all(other[name] != data for name, data in one.items())
    longer = contents(write_small(tmp_path / "four", num_scans=12))
    assert all(longer[name] == data for name, data in one.items() if name.suffix == ".npz")


def test_it_is_written_once_and_other_files_are_not_overwritten(tmp_path):
    folder = write_small(tmp_path)
    marker = folder / "lines.csv"
    marker.write_text("mine")
    write_small(tmp_path)
    assert marker.read_text() == "mine"
    with pytest.raises(InputError, match="something other"):
        write_stm_phantom(folder, num_scans=11, lines=32, points=32, seed=0)


def test_an_interrupted_one_leaves_nothing_and_is_written_again(tmp_path):
    folder = tmp_path / "stm"

    def stop(done, _):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_stm_phantom(folder, num_scans=10, lines=32, points=32, seed=0, progress=stop)
    assert not folder.exists() and not list(tmp_path.glob(".*.tmp"))
    seen = []
    write_stm_phantom(folder, num_scans=10, lines=32, points=32, seed=0, progress=lambda *done: seen.append(done))
    assert seen[-1] == (10, 10) and len(read_stm(folder).table) == 10


@pytest.mark.parametrize("wrong", [{"num_scans": 9}, {"lines": 15}, {"points": 31}, {"seed": -1}])
def test_parameters_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_stm_phantom(tmp_path / "stm", **{"num_scans": 10, "lines": 32, "points": 32, "seed": 0, **wrong})


def test_a_line_alone_tells_much_less_than_with_its_neighbours(phantom):
    table = read_stm(phantom, window_lines=0).table
    preprocess = ScanLinePreprocess(points=64, window_lines=128)
    scans = np.stack([preprocess.read(item) for item in table.items]).astype(np.float64)
    fine = np.diff(scans, axis=2)
    features = np.stack(
        [np.log(fine.std(axis=2)), np.log(scans.std(axis=2)), scans.mean(axis=2), scans[..., :6].mean(axis=2)], axis=2
    )
    padded = np.pad(features, ((0, 0), (6, 6), (0, 0)), mode="edge")
    around = np.concatenate([padded[:, i : i + 128] - (i != 6) * features for i in range(13)], axis=2)
    train, known = np.arange(len(scans)) < 30, np.isfinite(table.targets).all(axis=2)
    classes = table.targets.argmax(axis=2)

    def score(inputs):
        forest = RandomForestClassifier(60, max_depth=10, class_weight="balanced", random_state=0)
        forest.fit(inputs[train][known[train]], classes[train][known[train]])
        guessed = forest.predict(inputs[~train][known[~train]])
        return balanced_accuracy_score(classes[~train][known[~train]], guessed)

    alone, together = score(features), score(around)
    assert alone < 0.5 and together > alone + 0.1
