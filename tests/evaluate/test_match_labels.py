"""Labels of other data are matched by name; what one side lacks shifts nothing."""

import numpy as np
import pytest

from xlite.errors import InputError
from xlite.evaluate.match_labels import match_labels

NAN = np.nan


def test_labels_in_another_order_land_on_their_own_columns():
    targets = np.array([[1, 0], [0, 1], [NAN, 1]], dtype=np.float32)
    found = match_labels(targets, ("Mass", "Effusion"), "multilabel", ("Effusion", "Mass"), "multilabel")
    np.testing.assert_array_equal(found.targets, [[0, 1], [1, 0], [1, NAN]])
    assert (found.absent, found.unknown, found.notes) == ((), (), ())


def test_a_label_that_one_side_lacks_is_said_and_unknown():
    targets = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = match_labels(targets, ("Fracture", "C"), "multilabel", ("A", "B", "C"), "multilabel")
    np.testing.assert_array_equal(found.targets, [[NAN, NAN, 0], [NAN, NAN, 1]])
    assert (found.absent, found.unknown) == (("A", "B"), ("Fracture",))
    assert "2 of the model's labels that the data lacks, not judged: A, B" in found.notes
    assert "Labels of the data that the model does not know, left out: Fracture" in found.notes


def test_names_match_but_for_case_and_punctuation_only_where_that_is_one_label():
    targets = np.array([[1, 0]], dtype=np.float32)
    found = match_labels(targets, ("pleural thickening", "x"), "multilabel", ("X", "Pleural_Thickening"), "multilabel")
    np.testing.assert_array_equal(found.targets, [[0, 1]])
    both = match_labels(targets, ("x", "X"), "multilabel", ("X", "y"), "multilabel")
    np.testing.assert_array_equal(both.targets, [[0, NAN]])  # X is X; x is nothing of the model's


def test_a_folder_that_lacks_a_class_does_not_shift_the_others():
    one_hot = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    found = match_labels(one_hot, ("disc", "square"), "multiclass", ("square", "ring", "disc"), "multiclass")
    np.testing.assert_array_equal(found.targets, [[0, 0, 1], [1, 0, 0], [1, 0, 0]])
    assert found.absent == ("ring",)


def test_a_row_of_a_class_that_the_model_does_not_know_is_unknown_also_of_lines():
    one_hot = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    found = match_labels(one_hot, ("a", "new", "b"), "multiclass", ("b", "a"), "multiclass")
    np.testing.assert_array_equal(found.targets, [[0, 1], [NAN, NAN], [1, 0]])
    assert "Classes of the data that the model does not know: new; 1 of them are left out" in found.notes
    lines = np.stack([one_hot, np.full((3, 3), NAN, dtype=np.float32)])
    found = match_labels(lines, ("a", "new", "b"), "multiclass", ("b", "a"), "multiclass")
    np.testing.assert_array_equal(found.targets[0], [[0, 1], [NAN, NAN], [1, 0]])
    assert np.isnan(found.targets[1]).all()


def test_classes_are_labels_to_a_model_of_labels():
    one_hot = np.eye(2, dtype=np.float32)[[0, 1]]
    found = match_labels(one_hot, ("NORMAL", "PNEUMONIA"), "multiclass", ("Mass", "Pneumonia"), "multilabel")
    np.testing.assert_array_equal(found.targets, [[NAN, 0], [NAN, 1]])


@pytest.mark.parametrize(
    ("labels", "kind", "model_kind", "line"),
    [
        (("x",), "multilabel", "multilabel", r"no label of the data \(x\) is one of the model's \(A, B\)"),
        (("A",), "multilabel", "multiclass", r"the data has multilabel targets, the model answers multiclass ones"),
    ],
)
def test_data_that_has_nothing_in_common_is_refused(labels, kind, model_kind, line):
    with pytest.raises(InputError, match=line):
        match_labels(np.ones((1, 1), np.float32), labels, kind, ("A", "B"), model_kind)
