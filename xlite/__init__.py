"""X-Lite: hyper-parameter search for knowledge distillation of small medical-image classifiers."""

__version__ = "0.1.0"
