"""A small folder of labelled images with a table of one 0/1 column."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd


def labelled_folder(folder: Path, num_images: int = 40) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{number:03}.png" for number in range(num_images)]
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (16, 16), dtype=np.uint8))
    ill = np.arange(num_images) % 3 == 0
    patients = [f"p{number // 2}" for number in range(num_images)]
    pd.DataFrame({"image": names, "patient": patients, "ill": ill.astype(int)}).to_csv(
        folder / "labels.csv", index=False
    )
    return folder
