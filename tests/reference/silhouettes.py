"""The usual silhouette normalisation, step by step in plain Python: slow and obvious."""

import cv2
import numpy as np


def normalise_silhouette(image: np.ndarray, height: int = 64) -> np.ndarray | None:
    image = image.astype(np.uint8)
    if image.max() == 1:
        image = image * 255
    if int(image.astype(np.int64).sum()) <= 10000:
        return None

    rows_with_foreground = [row for row in range(image.shape[0]) if image[row].any()]
    cropped = image[rows_with_foreground[0] : rows_with_foreground[-1] + 1]

    width = int(height * cropped.shape[1] / cropped.shape[0])
    scaled = cv2.resize(cropped, (width, height), interpolation=cv2.INTER_CUBIC)

    total = sum(int(level) for level in scaled.flat)
    running = 0
    centre = None
    for column in range(width):
        running += sum(int(level) for level in scaled[:, column])
        if running > total / 2:
            centre = column
            break

    left, right = centre - height // 2, centre + height // 2
    if left < 0 or right > width:
        padding = np.zeros((height, height // 2), np.uint8)
        scaled = np.concatenate([padding, scaled, padding], axis=1)
        left, right = left + height // 2, right + height // 2
    return scaled[:, left:right].astype(np.uint8)
