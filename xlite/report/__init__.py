"""TensorBoard events, tables and pictures."""
