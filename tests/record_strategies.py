"""Hypothesis strategies for the parts of a record."""

from hypothesis import strategies as st

from xlite.metrics.multilabel import DeadLabels
from xlite.train.summary import EvaluationSummary, RunSummary

finite = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)  # -0.0 is the default, 0.0
names = st.text(max_size=8)
numbers = st.dictionaries(names, st.none() | st.integers(0, 10**6) | finite, max_size=3)
dead_labels = st.builds(
    DeadLabels, st.lists(names, min_size=1, max_size=3).map(tuple), st.integers(1, 20), st.booleans()
)
evaluation = {
    "metrics": numbers,
    "per_label": st.dictionaries(names, numbers, max_size=3),
    "undefined": st.lists(names, max_size=3).map(tuple),
    "notes": st.lists(names, max_size=3).map(tuple),
    "dead_labels": st.none() | dead_labels,
}
evaluations = st.builds(EvaluationSummary, **evaluation)
summaries = st.builds(
    RunSummary,
    **evaluation,
    config=st.dictionaries(names, st.none() | st.booleans() | st.integers() | finite | names, max_size=3),
    device=names,
    epochs=st.integers(0, 1000),
    curve=st.lists(finite, max_size=4).map(tuple),
    seconds=finite,
    seconds_by_kind=st.dictionaries(names, finite, max_size=3),
    device_seconds=st.none() | finite,
    best_epoch=st.integers(0, 1000),
    train_parts=numbers,
    **dict.fromkeys(("train_loss", "val_loss", "gap", "images_per_s"), st.none() | finite),
)
