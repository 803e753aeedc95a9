"""The bad-input table, `xlite report`: the study, its ledger, its package, the file to write."""
# ruff: noqa: E501  (a table: a row a line)

from bad_inputs import Row, content, cut, given_all, removed

DATABASE, STUDY, PROMOTED = "results/kd/study.db", "results/kd/study.json", "results/kd/promoted/"
METRICS = '{"metric": "auc_macro", "models": ["m"], "validation": {"metrics": {"auc_macro": 0.5}}, "test": {"metrics": {"auc_macro": 0.5}, "per_label": %s}}'

# fmt: off
REPORT = [
    Row("report-no-study", "report", "--study kdd", r"no study 'kdd' in .*; studies there: kd$", shell=True),
    Row("report-no-name", "report", "--study", r"--study: expected one argument"),
    Row("report-name", "report", "--study ../kd", r"study name '../kd': use letters"),
    Row("report-results-file", "report", "--results {home}/f", r"/f: is a file, not a folder", content("f", "")),
    Row("report-out-folder", "report", "--out {home}/results", r"--out: .*/results: is a folder"),
    Row("report-out-nowhere", "report", "--out {home}/no/r.html", r"--out: .*/no: no such folder"),
    Row("report-database-text", "report", "", r"study.db.*(not a database|malformed|no study 'kd')", content(DATABASE, b"not a database, not at all" * 99)),
    Row("report-database-cut", "report", "", r"study.db.*(malformed|no study 'kd'|disk image|disk I/O)", cut(DATABASE, 5000)),
    Row("report-database-empty", "report", "", r"no study 'kd' in .*studies there: none", given_all(removed(DATABASE), content(DATABASE, ""))),
    Row("report-storage", "report", "--storage sqlite:////no/such/folder/study.db", r"no study 'kd' in sqlite"),
    Row("report-study-cut", "report", "", r"kd/study.json: not valid JSON", content(STUDY, '{"teacher": ')),
    Row("report-metrics-cut", "report", "", r"promoted/metrics.json: not valid JSON", content(PROMOTED + "metrics.json", '{"metric": ')),
    Row("report-metrics-empty", "report", "", r"kd/promoted: its .json files are not what a promotion writes \(KeyError", content(PROMOTED + "metrics.json", "{}")),
    Row("report-metrics-labels", "report", "", r"not what a promotion writes .*; promote again", content(PROMOTED + "metrics.json", METRICS % "[1]")),
    Row("report-curves-list", "report", "", r"promoted/curves.json: a JSON list, not an object", given_all(content(PROMOTED + "metrics.json", METRICS % "{}"), content(PROMOTED + "curves.json", "[]"))),
]
# fmt: on
