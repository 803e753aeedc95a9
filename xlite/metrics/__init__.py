"""Metrics, decision thresholds and intervals: pure functions of probabilities and targets."""
