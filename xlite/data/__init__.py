"""Raw files to table, split, pixel cache, seeded views and batches."""
