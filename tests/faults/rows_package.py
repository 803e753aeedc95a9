"""The bad-input table, packages: which study, what it has promoted, and where a copy goes."""
# ruff: noqa: E501  (a table: a row a line)

from bad_inputs import Row, content

PROMOTED = "results/kd/promoted"
METRICS = content(f"{PROMOTED}/metrics.json", "{}")

# fmt: off
PACKAGE = [
    Row("package-no-study", "package", "--study kdd", r"no study 'kdd' in .*; studies there: kd$"),
    Row("package-nothing", "package", "", r"study kd: nothing is promoted yet; run `xlite promote --study kd --results .*`$"),
    Row("package-golden", "package", "--golden mine", r"--golden: invalid choice: 'mine'"),
    Row("package-out-file", "package", "--out {home}/f", r"/f: is a file, not a folder", content("f", "")),
    Row("package-out-foreign", "package", "--out {home}/nih", r"--out .*/nih: there is something else than a package; name an empty or a new folder", METRICS),
    Row("package-no-json", "package", "", r"study kd: there is no study.json in", METRICS),
]
# fmt: on
