"""The bad-input table, smaller packages: what is asked, the package, the study it comes from, where it goes."""
# ruff: noqa: E501  (a table: a row a line)

from pathlib import Path

from bad_inputs import Row, content, removed
from rows_predict import graph, package
from small_package import about_of, write_package

STUDY = "--study kd"


def small_package(home: Path) -> None:
    write_package(home / "p", about_of(precision="int8"))


# fmt: off
EXPORT = [
    # what is asked
    Row("export-neither", "export", STUDY, r"one of the arguments --int8 --fp16 is required", package(), shell=True),
    Row("export-both", "export", f"{STUDY} --int8 --fp16", r"--fp16: not allowed with argument --int8", package()),
    Row("export-loss-0", "export", f"{STUDY} --int8 --max-loss 0", r"--max-loss: got '0'; write a number above 0 and below 1", package()),
    Row("export-loss-2", "export", f"{STUDY} --int8 --max-loss 2", r"--max-loss: got '2'", package()),
    Row("export-loss-word", "export", f"{STUDY} --int8 --max-loss little", r"--max-loss: got 'little'", package()),
    # the package
    Row("export-nowhere", "export", f"{STUDY} --int8 --model {{home}}/nowhere", r"--model .*nowhere: no such folder; give a study's promoted/", shell=True),
    Row("export-file", "export", f"{STUDY} --int8 --model {{home}}/p/model.onnx", r"--model .*model\.onnx: no such folder", package()),
    Row("export-no-package", "export", f"{STUDY} --fp16 --model {{home}}/nih", r"nih: no package\.json, so not a package"),
    Row("export-missing-file", "export", f"{STUDY} --int8", r"model\.onnx: missing from the package", package(removed("model.onnx"))),
    Row("export-changed-file", "export", f"{STUDY} --int8", r"model\.onnx: changed since it was packaged", package(content("model.onnx", b"x"))),
    Row("export-operator", "export", f"{STUDY} --int8", r"model\.onnx: ONNX Runtime .* cannot load it \(.*Nonsense", package(graph(extra="Nonsense"), seal=True)),
    Row("export-small-already", "export", f"{STUDY} --fp16", r"p: is int8 already; give the fp32 package that it was made from", small_package),
    # the study
    Row("export-no-study", "export", "--int8", r"p: lies in no study, whose training and validation images are needed; name it with --study", package(), shell=True),
    Row("export-wrong-study", "export", "--int8 --study kdd", r"no study 'kdd' in .*results; studies there: kd", package()),
    Row("export-study-without-json", "export", f"{STUDY} --int8", r"study kd: there is no study\.json in", package()),
    # where it goes
    Row("export-onto-data", "export", f"{STUDY} --int8 --out {{home}}/nih", r"nih: is there already; name another folder with --out", package()),
    Row("export-onto-itself", "export", f"{STUDY} --int8 --out {{home}}/p", r"p: is there already; name another folder with --out", package()),
    Row("export-nowhere-to", "export", f"{STUDY} --int8 --out {{home}}/a/b", r"a: no such folder; name another with --out", package()),
]
