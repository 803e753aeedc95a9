"""A promoted model on other data: metrics with intervals, calibration, shift, subgroups, mistakes."""
