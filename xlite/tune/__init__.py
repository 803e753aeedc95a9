"""The search; the only place that imports ray."""
