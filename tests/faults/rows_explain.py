"""The bad-input table, explanations: the model, what is to be explained, and where the sheets go."""
# ruff: noqa: E501  (a table: a row a line)

from pathlib import Path

from bad_inputs import Given, Row, content
from explaining import save_untrained
from small_package import write_package

from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess

IMAGES = "{home}/nih/images_001"
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h]\n"


def model(*changes: Given, **made) -> Given:
    """An untrained model in m/, then changes to the row's folder."""

    def given(home: Path) -> None:
        save_untrained(home / "m", **{"backbone": "lcnet_050", **made})
        for change in changes:
            change(home)

    return given


def only_onnx(home: Path) -> None:
    write_package(home / "m")


# fmt: off
EXPLAIN = [
    Row("explain-nowhere", "explain", "{home}/nowhere", r"nowhere: no such file or folder", shell=True),
    Row("explain-no-model", "explain", IMAGES, r"--model .*/m: no \.safetensors there; .* give the whole folder promoted/", shell=True),
    Row("explain-onnx-alone", "explain", f"{IMAGES} --model {{home}}/m/model.onnx", r"model\.onnx: no \.safetensors there; maps need the weights in PyTorch", only_onnx),
    Row("explain-onnx-package", "explain", IMAGES, r"/m: no \.safetensors there", only_onnx),
    Row("explain-model-damaged", "explain", IMAGES, r"model_0\.safetensors: damaged", model(content("m/model_0.safetensors", "x"))),
    Row("explain-label", "explain", f"{IMAGES} --labels Mass,Hart", r"no label 'Hart'; the model has Effusion, Mass", model()),
    Row("explain-labels-and-top", "explain", f"{IMAGES} --labels Mass --top 2", r"--top: not allowed with argument --labels"),
    Row("explain-top", "explain", f"{IMAGES} --top 0", r"--top: got '0'; write a whole number above 0"),
    Row("explain-out-file", "explain", f"{IMAGES} --out {{home}}/nih/Data_Entry_2017_v2020.csv", r"Data_Entry_2017_v2020\.csv: is a file, not a folder"),
    Row("explain-out-images", "explain", f"{IMAGES} --out {{home}}/nih/images_001/sheets", r"images or the model are kept there; name another folder"),
    Row("explain-out-beside", "explain", f"{IMAGES}/images/00000000_000.png --out {IMAGES}/images", r"images or the model are kept there", shell=True),
    Row("explain-out-model", "explain", f"{IMAGES} --out {{home}}/m/sheets", r"images or the model are kept there", model()),
    Row("explain-out-full", "explain", f"{IMAGES} --out {{home}}/results", r"/results: not empty; name a new folder"),
    Row("explain-nothing", "explain", "{home}/results", r"results: nothing there that this model reads", model()),
    Row("explain-no-points", "explain", IMAGES, r"must be told where each is", model(preprocess=SlicePreprocess(48, num_slices=3), num_slices=3, kind="multiclass")),
    Row("explain-boxes-missing", "explain", f"{IMAGES} --boxes {{home}}/b.csv", r"b\.csv: no such file", model()),
    Row("explain-boxes-table", "explain", f"{IMAGES} --boxes {{home}}/b.csv", r"b\.csv: not NIH's list of boxes; its columns are Image Index", model(content("b.csv", "a,b\n1,2\n"))),
    Row("explain-boxes-row", "explain", f"{IMAGES} --boxes {{home}}/b.csv", r"b\.csv row 2: write a name, a label and four numbers", model(content("b.csv", BOXES + "1.png,Mass,1,2\n"))),
    Row("explain-boxes-lines", "explain", f"{IMAGES} --boxes {{home}}/b.csv", r"--boxes: they are of single pictures", model(content("b.csv", BOXES), preprocess=ScanLinePreprocess(8, 4), backbone="mobilenetv3_small_050", layers=1, width=16, ffn_width=16, attention_heads=2)),
]
# fmt: on
