"""The kinds of teacher: our own model, an ONNX file, a table of answers; one file each."""
