"""A check of minutes: whether this card trains right, how fast, and how many trials share it."""
