"""Segmenters: the people found in synthetic pictures, and errors of settings and files."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dygait.errors import UserError
from dygait.video.segmenters import Person, Segmenter
from dygait.video.segmenters.build import build_segmenter
from dygait.video.segmenters.onnx import OnnxSegmenter
from helpers.experiments import REPOSITORY

SIZE = (120, 160)
BOX = (60, 20, 30, 80)


def scene(box: tuple[int, int, int, int] | None = BOX, level: int = 230, seed: int = 0) -> np.ndarray:
    """Return a noisy grey picture with a bright person, or with nobody for no box."""
    picture = np.random.default_rng(seed).normal(100, 3, (*SIZE, 3))
    if box is not None:
        left, top, width, height = box
        picture[top : top + height, left : left + width] = level
    return picture.clip(0, 255).astype(np.uint8)


def label_map(people: list[Person], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the label map of people, uint8 (H, W)."""
    labels = np.zeros(size, np.uint8)
    for number, (box, mask, _) in enumerate(people, 1):
        left, top, width, height = box
        labels[top : top + height, left : left + width][mask > 0] = number
    return labels


def iou(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.count_nonzero(actual & expected) / max(np.count_nonzero(actual | expected), 1))


def truth(box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    return scene(box, seed=0)[:, :, 0] > 200


def with_background(segmenter: Segmenter, rate: float = 25) -> Segmenter:
    segmenter.learn([scene(None, seed=seed) for seed in range(20)], rate)
    return segmenter


def test_the_background_is_no_person_and_a_standing_person_remains() -> None:
    segmenter = with_background(build_segmenter("background"))
    for seed in range(30, 60):
        assert not segmenter.segment(scene(None, seed=seed))
    for seed in range(100, 500):  # standing for 16 s
        (person,) = segmenter.segment(scene(seed=seed))
    assert iou(label_map([person]) > 0, truth()) > 0.9
    assert not segmenter.notices
    assert not segmenter.segment(scene(None, seed=7))


def test_people_while_learning_the_background() -> None:
    segmenter = build_segmenter("background")
    passing = [scene((20 + 10 * n, 20, 30, 80), seed=n) for n in range(10)]
    segmenter.learn(passing, 25)
    assert not segmenter.segment(scene(None, seed=50))
    assert len(segmenter.segment(scene(seed=51))) == 1


def test_a_still_object_becomes_background() -> None:
    segmenter = with_background(build_segmenter("background"), rate=5)
    detected = [bool(segmenter.segment(scene(seed=1000 + n))) for n in range(5 * 100)]
    assert all(detected[: 5 * 30])
    assert not any(detected[-20:])


def test_shadows_are_removed() -> None:
    segmenter = with_background(build_segmenter("background"))
    picture = scene(seed=70)
    dark = scene(None, seed=71)[100:115, 60:140] * 0.7
    picture[100:115, 60:140] = dark.astype(np.uint8)
    assert iou(label_map(segmenter.segment(picture)) > 0, truth()) > 0.9
    with_shadow = with_background(build_segmenter("background", shadow=1.0)).segment(picture)
    assert np.count_nonzero(label_map(with_shadow)) > 1.2 * np.count_nonzero(truth())


def test_notices_of_changed_light_and_a_moving_camera() -> None:
    segmenter = with_background(build_segmenter("background"))
    stripes = (40 * (np.arange(SIZE[1]) // 8 % 2)).astype(np.uint8)[None, :, None]
    assert not any(segmenter.segment(scene(None, seed=seed) + stripes) for seed in range(80))
    assert "changed at once" in segmenter.notices[0]
    assert len(segmenter.notices) == 1

    noise = np.random.default_rng(1).normal(0, 150, (140, 180, 3))
    texture = (cv2.GaussianBlur(noise, (0, 0), 5) + 100).clip(0, 255).astype(np.uint8)
    segmenter = build_segmenter("background")
    segmenter.learn([texture[:120, :160]] * 5, 25)
    for shift in range(20):
        segmenter.segment(np.ascontiguousarray(texture[shift % 4 :, shift % 4 :][:120, :160]))
    assert any("camera moves" in notice for notice in segmenter.notices)


@pytest.mark.parametrize("gain", [0.7, 1.2])
def test_exposure_does_not_matter(gain: float) -> None:
    segmenter = with_background(build_segmenter("background"))
    for seed in range(100, 130):
        (person,) = segmenter.segment((scene(level=200, seed=seed) * gain).astype(np.uint8))
    assert iou(label_map([person]) > 0, truth()) > 0.9
    assert not segmenter.segment((scene(None, seed=7) * gain).astype(np.uint8))
    assert not segmenter.notices


def test_a_picture_of_the_background(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    cv2.imwrite(str(path), scene(None))
    segmenter = build_segmenter("background", background=str(path))
    segmenter.learn([scene(seed=seed) for seed in range(5)], 25)  # somebody stands there from the start
    assert iou(label_map(segmenter.segment(scene(seed=9))) > 0, truth()) > 0.9
    with pytest.raises(UserError, match=r"160x120 pixels, the source 64x48"):
        segmenter.learn([np.zeros((48, 64, 3), np.uint8)], 25)
    with pytest.raises(UserError, match=r"none\.png"):
        build_segmenter("background", background=str(tmp_path / "none.png"))


def labels(second: int = 2) -> np.ndarray:
    picture = np.zeros(SIZE, np.uint8)
    picture[20:100, 40:70] = 1
    picture[20:100, 70:100] = second  # touching
    return picture


@pytest.mark.parametrize(
    ("picture", "people"),
    [
        (labels(), 2),
        (labels(1), 1),  # a mask of zeros and ones
        (labels(1) * 255, 1),
        (labels().astype(np.uint16) * 1000, 2),
        (np.dstack([labels() * 40, labels() * 9, labels() * 100]), 2),  # one colour per person
        (np.dstack([labels(1) * 255] * 3), 1),
        (cv2.GaussianBlur(labels(1) * 255, (7, 7), 0), 1),  # levels of soft outlines are not labels
        (cv2.imdecode(cv2.imencode(".jpg", labels(1) * 255)[1], 0), 1),
        (np.zeros(SIZE, np.uint8), 0),
        (cv2.imdecode(cv2.imencode(".jpg", np.zeros(SIZE, np.uint8))[1], 0), 0),
    ],
)
def test_masks_and_label_maps(picture: np.ndarray, people: int) -> None:
    segmented = build_segmenter("masks").segment(picture)
    assert len(segmented) == people
    if people:
        assert iou(label_map(segmented) > 0, labels() > 0) > 0.95


def test_a_label_map_with_a_nearly_hidden_label() -> None:
    segmenter = build_segmenter("masks", least_area=2)
    assert len(segmenter.segment(labels())) == 2
    picture = labels(0)
    picture[20:23, 70:72] = 2
    assert len(segmenter.segment(picture)) == 2


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("backgroud", {}, "did you mean 'background'"),
        ("masks", {"weights": "x.pth"}, "weights: unknown key"),
        ("background", {"shadow": "dark"}, "shadow"),
        ("background", {"sensitivity": 0.0}, "sensitivity: .* greater than or equal to 1"),
        ("torchvision", {"weights": "none.pth"}, "none.pth"),
        ("onnx", {"model": "none.onnx"}, "none.onnx"),
        ("none.yaml", {}, "none.yaml"),
    ],
)
def test_errors_of_settings(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_segmenter(name, **keywords)


@pytest.mark.parametrize("content", ["segmenter: [", "just words", "shadow: 0.4", "segmenter: masks\nlabel: true"])
def test_errors_of_files(content: str, tmp_path: Path) -> None:
    path = tmp_path / "segmenter.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"segmenter\.yaml"):
        build_segmenter(str(path))


def test_the_documented_segmenter(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "own_video.md").read_text(encoding="utf-8")
    code = page.partition("@SEGMENTERS")[0].rpartition("```python\n")[2] + "@SEGMENTERS"
    code += page.partition("@SEGMENTERS")[2].partition("```")[0]
    settings = page.partition("custom_imports")[0].rpartition("```yaml\n")[2] + "custom_imports"
    settings += page.partition("custom_imports")[2].partition("```")[0]
    (tmp_path / "green_screen.py").write_text(code)
    (tmp_path / "green.yaml").write_text(settings)
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:] = cv2.cvtColor(np.uint8([[[55, 200, 200]]]), cv2.COLOR_HSV2BGR)[0, 0]
    picture[20:100, 60:90] = (200, 50, 50)
    assert iou(label_map(build_segmenter(str(tmp_path / "green.yaml")).segment(picture)) > 0, truth()) > 0.95


def tiny_mask_rcnn(num_classes: int, **keywords: Any) -> torch.nn.Module:
    """Return Mask R-CNN with a backbone of one layer, for the keywords of torchvision's builders."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone = torch.nn.Conv2d(3, 8, 8, stride=8)
    backbone.out_channels = 8  # type: ignore[assignment]
    return MaskRCNN(
        backbone,
        num_classes,
        min_size=keywords["min_size"],
        max_size=keywords["max_size"],
        rpn_anchor_generator=AnchorGenerator(((32,),), ((1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 2, 2),
        mask_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        rpn_post_nms_top_n_test=20,
    )


def test_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that classify every proposal as a person and fill its mask."""
    from torchvision.models import detection

    monkeypatch.setattr(detection, "maskrcnn_resnet50_fpn", tiny_mask_rcnn)
    state = tiny_mask_rcnn(3, min_size=64, max_size=256).state_dict()
    state["roi_heads.box_predictor.cls_score.bias"] = torch.tensor([-20.0, 20.0, -20.0])
    state["roi_heads.mask_predictor.mask_fcn_logits.weight"].zero_()
    state["roi_heads.mask_predictor.mask_fcn_logits.bias"] = torch.full((3,), 20.0)
    torch.save({"model": state}, tmp_path / "weights.pth")
    segmenter = build_segmenter("torchvision", weights=str(tmp_path / "weights.pth"), size=64)
    people = segmenter.segment(scene())
    assert people
    for box, mask, score in people:
        assert mask.shape == (box[3], box[2])
        assert (mask == 255).mean() > 0.8
        assert score > 0.9
    segmenter = build_segmenter("torchvision", weights=str(tmp_path / "weights.pth"), size=64, person=2)
    assert not segmenter.segment(scene())

    without_masks = {name: value for name, value in state.items() if "mask" not in name}
    invalid = {"other.pth": {"x": torch.zeros(1)}, "list.pth": [1], "incomplete.pth": without_masks}
    for name, content in invalid.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    for name in (*invalid, "damaged.pth"):
        with pytest.raises(UserError, match=name):
            build_segmenter("torchvision", weights=str(tmp_path / name))


class FakeOnnx(OnnxSegmenter):
    """An ONNX segmenter whose network is a function."""

    def __init__(self, run: Any, **keywords: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dygait.video.segmenters.onnx._load", lambda path, outputs: (run, None))
            super().__init__(model="network.onnx", size=[60, 80], **keywords)


def logits(values: np.ndarray) -> np.ndarray:
    """Return logits that are positive for bright pixels, (1, 1, h, w)."""
    return 40 * (values.mean(1, keepdims=True) - 0.7)


def test_maps_of_probabilities_and_of_classes() -> None:
    maps = {
        "probability": (lambda x: [logits(x)], {"activation": "sigmoid"}),
        "flat": (lambda x: [logits(x)[0, 0]], {"activation": "sigmoid"}),
        "small": (lambda x: [logits(x)[:, :, ::2, ::2]], {"activation": "sigmoid"}),
        "two": (lambda x: [np.concatenate([-logits(x), logits(x)], 1)], {"activation": "softmax", "person": 1}),
        "most": (lambda x: [np.concatenate([-logits(x), logits(x)], 1)], {"person": 1}),
        "classes": (lambda x: [np.where(logits(x)[0] > 0, 15, 0)], {"person": 15}),
    }
    for name, (run, keywords) in maps.items():
        (person,) = FakeOnnx(run, **keywords).segment(scene())
        assert iou(label_map([person]) > 0, truth()) > 0.85, name
        assert not FakeOnnx(run, **keywords).segment(scene(None)), name
    with pytest.raises(UserError, match="person=5"):
        FakeOnnx(maps["most"][0], person=5).segment(scene())


def test_preprocessing_of_the_input() -> None:
    inputs: list[np.ndarray] = []

    def run(values: np.ndarray) -> list[np.ndarray]:
        inputs.append(values)
        return [np.zeros((1, 1, 60, 80))]

    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:] = (10, 20, 30)
    FakeOnnx(run, mean=[0.1, 0.0, 0.0], std=[1.0, 2.0, 1.0]).segment(picture)
    np.testing.assert_allclose(inputs[-1][0, :, 0, 0], [30 / 255 - 0.1, 20 / 255 / 2, 10 / 255], rtol=1e-5)
    FakeOnnx(run, channels="bgr", scale=1.0).segment(picture)
    assert inputs[-1].shape == (1, 3, 60, 80)
    assert inputs[-1].dtype == np.float32
    assert inputs[-1][0, :, 0, 0].tolist() == [10, 20, 30]
    FakeOnnx(run, letterbox=True, scale=1.0).segment(picture[:60])  # twice as wide as the input
    assert inputs[-1][0, :, 29, 0].tolist() == [30, 20, 10]
    assert inputs[-1][0, :, 31, 0].tolist() == [114, 114, 114]


def instances(small: bool) -> list[np.ndarray]:
    """Return two people and a car in the output format of Mask R-CNN, at half the size of the picture."""
    boxes = np.array([[30, 10, 45, 50], [5, 10, 20, 50], [50, 30, 75, 55]], np.float32)
    masks = np.zeros((3, 1, 60, 80), np.float32)
    for mask, box in zip(masks, boxes.astype(int), strict=True):
        mask[0, box[1] : box[3], box[0] : box[2]] = 0.9
    if small:
        masks = np.full((3, 1, 28, 28), 0.9, np.float32)
    return [boxes, np.array([1, 1, 3]), np.array([0.9, 0.8, 0.99], np.float32), masks]


@pytest.mark.parametrize("small", [False, True])
def test_instances(small: bool) -> None:
    people = FakeOnnx(lambda x: instances(small), kind="instances", person=1).segment(scene())
    assert [person.box for person in people] == [(60, 20, 30, 80), (10, 20, 30, 80)]
    assert [round(person.score, 2) for person in people] == [0.9, 0.8]
    assert len(FakeOnnx(lambda x: instances(small), kind="instances", person=1, threshold=0.85).segment(scene())) == 1
    with pytest.raises(UserError, match="this kind needs 4"):
        FakeOnnx(lambda x: instances(small)[:2], kind="instances").segment(scene())


def test_yolo_with_letterbox() -> None:
    """A picture of half the height of the input: two boxes of one person, and one of another class."""
    prototypes = np.stack([np.full((15, 20), 8.0, np.float32), np.full((15, 20), -8.0, np.float32)])[None]
    # Centre and size of the box, scores of two classes, mask coefficients.
    rows = np.array(
        [
            [37.5, 15, 15, 20, 0.9, 0.1, 1, 0],
            [38.5, 15, 15, 20, 0.8, 0.1, 1, 0],
            [10, 15, 10, 20, 0.1, 0.9, 1, 0],
            [60, 15, 10, 20, 0.2, 0.1, 1, 0],
        ]
    ).T[None]
    segmenter = FakeOnnx(lambda x: [rows.astype(np.float32), prototypes], kind="yolo", letterbox=True)
    (person,) = segmenter.segment(scene()[:60])
    left, top, width, height = person.box
    assert (abs(left - 60), abs(top - 10), abs(width - 30), abs(height - 40)) <= (2, 2, 2, 2)


@pytest.mark.parametrize("opencv", [False, True])
def test_an_onnx_file(opencv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    if opencv:
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    else:
        pytest.importorskip("onnxruntime")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("weights", floats, [1, 3, 1, 1], [40 / 3] * 3)
    bias = helper.make_tensor("bias", floats, [1], [-28.0])
    nodes = [
        helper.make_node("Conv", ["picture", "weights", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["person"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("picture", floats, [1, 3, 60, 80])],
        [helper.make_tensor_value_info("person", floats, [1, 1, 60, 80])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "bright.onnx"
    path.write_bytes(model.SerializeToString())
    settings = tmp_path / "bright.yaml"
    settings.write_text(f"segmenter: onnx\nmodel: {path}\nsize: [60, 80]\n")
    (person,) = build_segmenter(str(settings)).segment(scene())
    assert iou(label_map([person]) > 0, truth()) > 0.85
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        build_segmenter("onnx", model=str(tmp_path / "bad.onnx"), size=[60, 80])
    if not opencv:
        assert len(build_segmenter("onnx", model=str(path)).segment(scene())) == 1  # the size is in the file
        with pytest.raises(UserError, match="no output 'nobody'"):
            build_segmenter("onnx", model=str(path), outputs=["nobody"])
