"""Generators that write the same raw formats the readers read."""
