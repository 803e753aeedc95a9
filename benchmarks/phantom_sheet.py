"""Draws docs/pictures/phantom_chest.png: one phantom without a finding, then one for each of the fourteen findings."""

from pathlib import Path

import cv2
import numpy as np

from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import FINDINGS, Picture

REPO = Path(__file__).resolve().parents[1]
NUM_COLUMNS, TILE_PX, CAPTION_PX = 5, 176, 18


def tile(name: str, patient: int) -> np.ndarray:
    """(TILE_PX + CAPTION_PX, TILE_PX) uint8: a picture over its caption."""
    severities = {name: 0.5} if name in FINDINGS else {}
    picture = draw_chest(Picture(patient, 0, severities, female=bool(patient % 2)), seed=0)
    caption = np.full((CAPTION_PX, TILE_PX), 255, np.uint8)
    cv2.putText(caption, name.replace("_", " "), (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 0, 1, cv2.LINE_AA)
    return np.vstack([cv2.resize(picture, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), caption])


def sheet() -> np.ndarray:
    """All tiles, row by row."""
    tiles = [tile(name, 20 + k) for k, name in enumerate(("No Finding", *FINDINGS))]
    rows = [np.hstack(tiles[k : k + NUM_COLUMNS]) for k in range(0, len(tiles), NUM_COLUMNS)]
    return np.vstack(rows)


if __name__ == "__main__":
    path = REPO / "docs" / "pictures" / "phantom_chest.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{path.relative_to(REPO)}: {path.stat().st_size / 1000:.0f} kB")
