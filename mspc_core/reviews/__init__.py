"""Review decisions on disk: who decided what about which sample, when, and what the detectors said then.

Nothing is overwritten: a decision is a row, the newest one of a sample counts, undo writes another row. SQLite in the
home folder by default, PostgreSQL by the address in `BACKDOOR_LENS_REVIEWS_URL`.
"""

from mspc_core.reviews.store import DECISIONS, Decision, DecisionRecord, ReviewStore, Snapshot

__all__ = ["DECISIONS", "Decision", "DecisionRecord", "ReviewStore", "Snapshot"]
