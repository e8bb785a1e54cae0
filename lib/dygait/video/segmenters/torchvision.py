"""Instance segmentation by torchvision's Mask R-CNN, for moving cameras and crowds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from dygait.errors import UserError
from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter, people_in_masks

_NAMES = Literal["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]
_CLASSES = "roi_heads.box_predictor.cls_score.bias"  # in the state dict; one value for each class


@SEGMENTERS.register("torchvision")
class TorchvisionSegmenter(Segmenter):
    """Mask R-CNN of torchvision (He et al., *Mask R-CNN*, ICCV 2017).

    Args:
        weights: a state dict of the network (.pth or .pt); None: torchvision's weights, trained on COCO, which are
            downloaded once.
        network: the name of the network in `torchvision.models.detection`.
        person: index of the class of people; 1 in COCO.
        score: the least score of a person, 0..1.
        size: rows that a picture is resized to; fewer are faster, but find fewer small people.
        device: device of the network; None: the first GPU if there is one.
    """

    def __init__(
        self,
        weights: str | None = None,
        network: _NAMES = "maskrcnn_resnet50_fpn",
        person: int = 1,
        score: Annotated[float, Field(ge=0, le=1)] = 0.6,
        size: Annotated[int, Field(ge=16)] = 480,
        device: str | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and not Path(weights).is_file():
            raise UserError(f"{weights}: there is no such file of weights")
        import torch

        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network = _load(network, weights, size).to(self._device).eval()
        self._person = person
        self._score = score

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a picture."""
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)))
        with torch.inference_mode():
            (output,) = self._network([tensor.to(self._device).float() / 255])
        is_person = (output["labels"] == self._person) & (output["scores"] >= self._score)
        masks = 255 * (output["masks"][is_person, 0] > 0.5).byte().cpu().numpy()
        return people_in_masks(masks, output["scores"][is_person].tolist())


def _load(name: str, weights: str | None, size: int) -> Any:
    from torchvision.models import detection

    build = getattr(detection, name)
    sizes = {"min_size": size, "max_size": 4 * size}
    if weights is None:
        try:
            return build(weights="DEFAULT", **sizes)
        except OSError as error:
            raise UserError(
                f"the weights of {name} cannot be downloaded ({error}): give them as a file, --weights FILE.pth"
            ) from None
    state = _read_state(Path(weights))
    if _CLASSES not in state:
        raise UserError(f"{weights}: no weights of {name}: there is no {_CLASSES}")
    network = build(weights=None, weights_backbone=None, num_classes=len(state[_CLASSES]), **sizes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise UserError(f"{weights}: these weights do not fit {name}: {first[0].strip()}") from None
    return network


def _read_state(path: Path) -> dict[str, Any]:
    """Read a state dict, or that under `model` of a training checkpoint."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{path}: these weights cannot be read: {reason}") from None
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: a state dict is needed, not {type(content).__name__}")
    return content
