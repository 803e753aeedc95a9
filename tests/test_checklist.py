"""What the chest logs' verification checklist promised, each as a test; on NIH's whole label table where it is."""

import numpy as np
import pytest
import torch
from conftest import HEADER, SHARED, write_nih_folder

from xlite.config import RunConfig
from xlite.data.batches import draws
from xlite.data.sources.nih import LABELS, read_labels, read_nih
from xlite.data.split import make_split
from xlite.errors import InputError
from xlite.losses.classes import cross_entropy
from xlite.losses.multilabel import make_supervised_loss
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.tasks import TASKS


@pytest.fixture(scope="module")
def whole_table():
    folder = SHARED / "nih_labels"
    if not folder.is_dir():
        pytest.skip(f"NIH's label table is not here ({folder})")
    return read_labels(folder).table


def test_stratified_splits_have_the_logs_sizes(whole_table):
    split = make_split(whole_table, strategy="image", seed=42)
    assert (len(split.train), len(split.val), len(split.test)) == (78_484, 16_818, 16_818)
    for label in range(14):
        shares = [np.mean(whole_table.targets[part, label]) for part in (split.train, split.val, split.test)]
        assert max(shares) - min(shares) < 0.0005


def test_an_epoch_has_the_logs_4905_batches_and_every_image_at_most_once(whole_table):
    plan = list(draws(78_484, epoch=0, batch_size=16, num_views=1, seed=0))
    assert len(plan) == 4_905 and {len(draw.positions) for draw in plan} == {16}
    assert len(np.unique(np.concatenate([draw.positions for draw in plan]))) == 4_905 * 16


def test_labels_are_multi_hot_and_survive_the_split(whole_table):
    split = make_split(whole_table, strategy="patient", seed=42)
    assert whole_table.labels == LABELS and set(np.unique(whole_table.targets)) == {0.0, 1.0}
    assert whole_table.targets.sum(axis=1).max() > 1
    for part in (split.train, split.val, split.test):
        assert (whole_table.targets[part].sum(axis=0) > 0).all()


def test_labels_that_are_all_zero_are_caught_when_they_are_read(tmp_path):
    folder = write_nih_folder(tmp_path / "nih", 8)
    rows = [f"{i // 2:08d}_{i % 2:03d}.png,No Finding,0,{i},50,F,PA,2500,2048,0.1,0.1\n" for i in range(8)]
    (folder / "Data_Entry_2017_v2020.csv").write_text(HEADER + "".join(rows))
    with pytest.raises(InputError, match="no image has any of the 14 findings"):
        read_nih(folder)


def test_a_sampler_gives_rare_labels_their_share_and_is_used_for_training_only(whole_table):
    target_spec = TASKS["chestxray14"].target_spec
    weights = target_spec.sample_weights(whole_table.targets, "mean")
    hernia = LABELS.index("Hernia")
    plain = whole_table.targets[:, hernia].mean()
    (first, *_) = draws(len(weights), epoch=0, batch_size=20_000, num_views=1, seed=0, weights=weights)
    assert whole_table.targets[first.positions, hernia].mean() > 10 * plain
    assert target_spec.sample_weights(whole_table.targets, "none") is None


def test_every_loss_is_finite_where_a_batch_has_no_label_at_all():
    for name in ("bce", "weighted_bce", "focal", "bce_focal"):
        config = RunConfig().override({"loss.name": name}, source="test").loss
        loss = make_supervised_loss(config, np.eye(14, dtype=np.float32))
        logits = torch.randn(16, 14, requires_grad=True)
        value = loss(logits, torch.zeros(16, 14))["hard"]
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
    assert torch.isfinite(cross_entropy(torch.randn(4, 3), torch.full((4, 3), torch.nan)))


def test_more_than_ten_metrics_are_computed():
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 14)) < 0.3).astype(np.float32)
    evaluation = evaluate_multilabel(rng.random((200, 14)), targets, LABELS)
    wanted = {
        f"{name}_{mean}" for name in ("auc", "pr_auc", "f1", "precision", "recall") for mean in ("macro", "micro")
    }
    assert wanted | {"hamming", "label_ranking_ap", "coverage"} == set(evaluation.scalars)
    assert all("auc" in evaluation.per_label[label] for label in LABELS)
