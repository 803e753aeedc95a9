"""Where a model looks: class activation maps of images and slices, saliency along scan lines."""
