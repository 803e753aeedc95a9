"""From trained models to a package: ONNX, examples with their answers, card, commands; and smaller files."""
