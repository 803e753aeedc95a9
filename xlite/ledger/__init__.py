"""The ledger: one Optuna study is the durable record of a search, and says what to try next."""

from xlite.ledger.rdb import sqlite_url
from xlite.ledger.records import Outcome, Phase, PromotionRecord, TrialRecord, TrialResult, best_of, ranking_key
from xlite.ledger.retry import shown_url, stored_url
from xlite.ledger.study import Ledger, Proposal, Refused, study_storage
from xlite.samplers.sampling import Space

__all__ = [
    "Ledger",
    "Outcome",
    "Phase",
    "PromotionRecord",
    "Proposal",
    "Refused",
    "Space",
    "TrialRecord",
    "TrialResult",
    "best_of",
    "ranking_key",
    "shown_url",
    "sqlite_url",
    "stored_url",
    "study_storage",
]
