"""What to try next: a Latin hypercube first, then a Gaussian process or TPE. Knows no Ray."""
