"""The half of the package that needs no PyTorch: what a package says of itself, its predictions, its own check."""
