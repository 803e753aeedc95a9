"""The ledger: one Optuna study is the durable record of a search, and says what to try next."""

from xlite.ledger.manifest import StudyManifest, storage_to_write, study_storage
from xlite.ledger.objectives import Objective, Objectives, front_of, knee_of
from xlite.ledger.pairing import adopt, claim, open_to_read, pair
from xlite.ledger.proposals import Proposal, Refused
from xlite.ledger.rdb import absolute_url, sqlite_url
from xlite.ledger.reads import TestRead
from xlite.ledger.records import (
    CandidateRecord,
    Outcome,
    PromotionRecord,
    TrialRecord,
    TrialResult,
    best_of,
    ranking_key,
)
from xlite.ledger.retry import secrets_of, shown_url
from xlite.ledger.study import Ledger

__all__ = [
    "CandidateRecord",
    "Ledger",
    "Objective",
    "Objectives",
    "Outcome",
    "PromotionRecord",
    "Proposal",
    "Refused",
    "StudyManifest",
    "TestRead",
    "TrialRecord",
    "TrialResult",
    "absolute_url",
    "adopt",
    "best_of",
    "claim",
    "front_of",
    "knee_of",
    "open_to_read",
    "pair",
    "ranking_key",
    "secrets_of",
    "shown_url",
    "sqlite_url",
    "storage_to_write",
    "study_storage",
]
