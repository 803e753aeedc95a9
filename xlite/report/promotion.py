"""What a promotion's candidates say of luck: search, retrained and test values side by side."""

from xlite.ledger import CandidateRecord, TrialRecord
from xlite.report.sections import Section, StudyRows, counted, markdown_table, mean_and_spread


def luck_section(study: StudyRows) -> Section | None:
    """Of each promotion that chose among retrained candidates; None where none has."""
    finals = [row for row in study.finals if row.promotion and row.promotion.candidates]
    if not finals:
        return None
    about = (
        "A value of the search was one of many, and the best of them is the luckiest. Retrained models differ in seed "
        "alone; ± is the standard deviation over seeds."
    )
    return Section(
        "How much of the winner's value was luck?",
        "; ".join(_conclusion(row, study.metric) for row in finals),
        (about, *(_table(row) for row in finals)),
    )


def _conclusion(row: TrialRecord, metric: str) -> str:
    promotion = row.promotion
    assert promotion is not None
    chosen = promotion.candidate
    assert chosen is not None
    return (
        f"promotion {row.number}, trial {chosen.trial}: {metric} {chosen.search_value:.4f} in the search, "
        f"{mean_and_spread(chosen.values)} retrained, {mean_and_spread(promotion.test_values)} on test "
        f"({counted(len(promotion.seeds), 'seed')}; test was read {counted(promotion.reads_of_test, 'time')})"
    )


def _table(row: TrialRecord) -> str:
    assert row.promotion is not None
    return markdown_table(
        ("trial", "search", "retrained", "below the best by", "verdict"),
        [_cells(each) for each in row.promotion.candidates],
    )


def _cells(candidate: CandidateRecord) -> tuple[str, ...]:
    shown = "-"
    if candidate.difference is not None:
        mean, low, high = candidate.difference
        shown = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
    retrained = mean_and_spread(candidate.values)
    return str(candidate.trial), f"{candidate.search_value:.4f}", retrained, shown, candidate.verdict
