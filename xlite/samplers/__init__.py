"""What to try next: spread first trials, a Gaussian process and TPE. Knows no Ray."""
