"""X-Lite: hyper-parameter search for knowledge distillation of small medical-image classifiers."""
