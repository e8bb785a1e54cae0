"""Segmenters: what each finds in pictures with a known answer, and what is said of bad settings."""

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
    """A noisy grey picture, and somebody in it."""
    picture = np.random.default_rng(seed).normal(100, 3, (*SIZE, 3))
    if box is not None:
        left, top, width, height = box
        picture[top : top + height, left : left + width] = level
    return picture.clip(0, 255).astype(np.uint8)


def whole(people: list[Person], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the label map of people, uint8 (H, W)."""
    labels = np.zeros(size, np.uint8)
    for number, (box, mask, _) in enumerate(people, 1):
        left, top, width, height = box
        labels[top : top + height, left : left + width][mask > 0] = number
    return labels


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.count_nonzero(found & wanted) / max(np.count_nonzero(found | wanted), 1))


def truth(box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    return scene(box, seed=0)[:, :, 0] > 200


def learnt(segmenter: Segmenter, rate: float = 25) -> Segmenter:
    segmenter.learn([scene(None, seed=seed) for seed in range(20)], rate)
    return segmenter


def test_the_background_is_not_a_person_and_who_stops_stays_one() -> None:
    segmenter = learnt(build_segmenter("background"))
    for seed in range(30, 60):
        assert not segmenter.segment(scene(None, seed=seed))
    for seed in range(100, 500):  # 16 s, at one place
        (person,) = segmenter.segment(scene(seed=seed))
    assert iou(whole([person]) > 0, truth()) > 0.9
    assert not segmenter.notices
    assert not segmenter.segment(scene(None, seed=7))


def test_people_in_the_first_seconds_do_no_harm() -> None:
    segmenter = build_segmenter("background")
    passing = [scene((20 + 10 * place, 20, 30, 80), seed=place) for place in range(10)]
    segmenter.learn(passing, 25)
    assert not segmenter.segment(scene(None, seed=50))
    assert len(segmenter.segment(scene(seed=51))) == 1


def test_what_never_moves_becomes_background() -> None:
    segmenter = learnt(build_segmenter("background"), rate=5)
    found = [bool(segmenter.segment(scene(seed=1000 + number))) for number in range(5 * 100)]
    assert all(found[: 5 * 30])
    assert not any(found[-20:])


def test_a_cast_shadow_is_no_person() -> None:
    segmenter = learnt(build_segmenter("background"))
    picture = scene(seed=70)
    dark = scene(None, seed=71)[100:115, 60:140] * 0.7
    picture[100:115, 60:140] = dark.astype(np.uint8)
    assert iou(whole(segmenter.segment(picture)) > 0, truth()) > 0.9
    kept = learnt(build_segmenter("background", shadow=1.0)).segment(picture)
    assert np.count_nonzero(whole(kept)) > 1.2 * np.count_nonzero(truth())


def test_the_light_and_a_moving_camera_are_noticed() -> None:
    segmenter = learnt(build_segmenter("background"))
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
def test_another_exposure_changes_nothing(gain: float) -> None:
    segmenter = learnt(build_segmenter("background"))
    for seed in range(100, 130):
        (person,) = segmenter.segment((scene(level=200, seed=seed) * gain).astype(np.uint8))
    assert iou(whole([person]) > 0, truth()) > 0.9
    assert not segmenter.segment((scene(None, seed=7) * gain).astype(np.uint8))
    assert not segmenter.notices


def test_a_picture_of_the_background(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    cv2.imwrite(str(path), scene(None))
    segmenter = build_segmenter("background", background=str(path))
    segmenter.learn([scene(seed=seed) for seed in range(5)], 25)  # somebody stands there from the beginning
    assert iou(whole(segmenter.segment(scene(seed=9))) > 0, truth()) > 0.9
    with pytest.raises(UserError, match=r"160x120 pixels, the source 64x48"):
        segmenter.learn([np.zeros((48, 64, 3), np.uint8)], 25)
    with pytest.raises(UserError, match=r"none\.png"):
        build_segmenter("background", background=str(tmp_path / "none.png"))


def labels(two: int = 2) -> np.ndarray:
    picture = np.zeros(SIZE, np.uint8)
    picture[20:100, 40:70] = 1
    picture[20:100, 70:100] = two  # they touch
    return picture


@pytest.mark.parametrize(
    ("picture", "people"),
    [
        (labels(), 2),
        (labels(1), 1),  # a mask of zeros and ones
        (labels(1) * 255, 1),
        (labels().astype(np.uint16) * 1000, 2),
        (np.dstack([labels() * 40, labels() * 9, labels() * 100]), 2),  # a colour for each
        (np.dstack([labels(1) * 255] * 3), 1),
        (cv2.GaussianBlur(labels(1) * 255, (7, 7), 0), 1),  # soft outlines are no labels
        (cv2.imdecode(cv2.imencode(".jpg", labels(1) * 255)[1], 0), 1),
        (np.zeros(SIZE, np.uint8), 0),
        (cv2.imdecode(cv2.imencode(".jpg", np.zeros(SIZE, np.uint8))[1], 0), 0),
    ],
)
def test_masks_and_label_maps(picture: np.ndarray, people: int) -> None:
    found = build_segmenter("masks").segment(picture)
    assert len(found) == people
    if people:
        assert iou(whole(found) > 0, labels() > 0) > 0.95


def test_a_label_map_stays_one_when_a_label_is_hardly_visible() -> None:
    segmenter = build_segmenter("masks", least_area=2)
    assert len(segmenter.segment(labels())) == 2
    picture = labels(0)
    picture[20:23, 70:72] = 2
    assert len(segmenter.segment(picture)) == 2


@pytest.mark.parametrize(
    ("named", "keywords", "words"),
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
def test_bad_settings_are_named(named: str, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_segmenter(named, **keywords)


@pytest.mark.parametrize("content", ["segmenter: [", "just words", "shadow: 0.4", "segmenter: masks\nlabel: true"])
def test_bad_files_are_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "segmenter.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"segmenter\.yaml"):
        build_segmenter(str(path))


def test_the_segmenter_of_the_page_runs(tmp_path: Path) -> None:
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
    assert iou(whole(build_segmenter(str(tmp_path / "green.yaml")).segment(picture)) > 0, truth()) > 0.95


def tiny_mask_rcnn(num_classes: int, **keywords: Any) -> torch.nn.Module:
    """Mask R-CNN with a backbone of one layer, built by the keywords of torchvision's builders."""
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


def test_torchvision_with_made_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that call every proposal a person, and fill its mask."""
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

    more = {name: value for name, value in state.items() if "mask" not in name}
    bad = {"other.pth": {"x": torch.zeros(1)}, "list.pth": [1], "less.pth": more}
    for name, content in bad.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    for name in (*bad, "damaged.pth"):
        with pytest.raises(UserError, match=name):
            build_segmenter("torchvision", weights=str(tmp_path / name))


class Fake(OnnxSegmenter):
    """An ONNX segmenter whose network is a function."""

    def __init__(self, run: Any, **keywords: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dygait.video.segmenters.onnx._load", lambda path, outputs: (run, None))
            super().__init__(model="network.onnx", size=[60, 80], **keywords)


def bright(values: np.ndarray) -> np.ndarray:
    """Logits of bright pixels, (1, 1, h, w)."""
    return 40 * (values.mean(1, keepdims=True) - 0.7)


def test_a_map_of_probabilities_or_classes() -> None:
    maps = {
        "probability": (lambda x: [bright(x)], {"activation": "sigmoid"}),
        "flat": (lambda x: [bright(x)[0, 0]], {"activation": "sigmoid"}),
        "small": (lambda x: [bright(x)[:, :, ::2, ::2]], {"activation": "sigmoid"}),
        "two": (lambda x: [np.concatenate([-bright(x), bright(x)], 1)], {"activation": "softmax", "person": 1}),
        "most": (lambda x: [np.concatenate([-bright(x), bright(x)], 1)], {"person": 1}),
        "classes": (lambda x: [np.where(bright(x)[0] > 0, 15, 0)], {"person": 15}),
    }
    for name, (run, keywords) in maps.items():
        (person,) = Fake(run, **keywords).segment(scene())
        assert iou(whole([person]) > 0, truth()) > 0.85, name
        assert not Fake(run, **keywords).segment(scene(None)), name
    with pytest.raises(UserError, match="person=5"):
        Fake(maps["most"][0], person=5).segment(scene())


def test_the_input_is_as_described() -> None:
    seen: list[np.ndarray] = []

    def run(values: np.ndarray) -> list[np.ndarray]:
        seen.append(values)
        return [np.zeros((1, 1, 60, 80))]

    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:] = (10, 20, 30)
    Fake(run, mean=[0.1, 0.0, 0.0], std=[1.0, 2.0, 1.0]).segment(picture)
    np.testing.assert_allclose(seen[-1][0, :, 0, 0], [30 / 255 - 0.1, 20 / 255 / 2, 10 / 255], rtol=1e-5)
    Fake(run, channels="bgr", scale=1.0).segment(picture)
    assert seen[-1].shape == (1, 3, 60, 80)
    assert seen[-1].dtype == np.float32
    assert seen[-1][0, :, 0, 0].tolist() == [10, 20, 30]
    Fake(run, letterbox=True, scale=1.0).segment(picture[:60])  # twice as wide as the input
    assert seen[-1][0, :, 29, 0].tolist() == [30, 20, 10]
    assert seen[-1][0, :, 31, 0].tolist() == [114, 114, 114]


def instances(small: bool) -> list[np.ndarray]:
    """Two people and a car, as Mask R-CNN gives them, of pictures of half the size."""
    boxes = np.array([[30, 10, 45, 50], [5, 10, 20, 50], [50, 30, 75, 55]], np.float32)
    masks = np.zeros((3, 1, 60, 80), np.float32)
    for mask, box in zip(masks, boxes.astype(int), strict=True):
        mask[0, box[1] : box[3], box[0] : box[2]] = 0.9
    if small:
        masks = np.full((3, 1, 28, 28), 0.9, np.float32)
    return [boxes, np.array([1, 1, 3]), np.array([0.9, 0.8, 0.99], np.float32), masks]


@pytest.mark.parametrize("small", [False, True])
def test_instances(small: bool) -> None:
    people = Fake(lambda x: instances(small), kind="instances", person=1).segment(scene())
    assert [person.box for person in people] == [(60, 20, 30, 80), (10, 20, 30, 80)]
    assert [round(person.score, 2) for person in people] == [0.9, 0.8]
    assert len(Fake(lambda x: instances(small), kind="instances", person=1, threshold=0.85).segment(scene())) == 1
    with pytest.raises(UserError, match="this kind needs 4"):
        Fake(lambda x: instances(small)[:2], kind="instances").segment(scene())


def test_yolo_with_letterbox() -> None:
    """A picture of half the input's height: one person twice, and somebody of another class."""
    prototypes = np.stack([np.full((15, 20), 8.0), np.full((15, 20), -8.0)])[None]
    # Middle and size of the box, scores of two classes, coefficients.
    rows = np.array(
        [
            [37.5, 15, 15, 20, 0.9, 0.1, 1, 0],
            [38.5, 15, 15, 20, 0.8, 0.1, 1, 0],
            [10, 15, 10, 20, 0.1, 0.9, 1, 0],
            [60, 15, 10, 20, 0.2, 0.1, 1, 0],
        ]
    ).T[None]
    segmenter = Fake(lambda x: [rows.astype(np.float32), prototypes.astype(np.float32)], kind="yolo", letterbox=True)
    (person,) = segmenter.segment(scene()[:60])
    left, top, width, height = person.box
    assert (abs(left - 60), abs(top - 10), abs(width - 30), abs(height - 40)) <= (2, 2, 2, 2)


@pytest.mark.parametrize("opencv", [False, True])
def test_a_file_of_a_network(opencv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert iou(whole([person]) > 0, truth()) > 0.85
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        build_segmenter("onnx", model=str(tmp_path / "bad.onnx"), size=[60, 80])
    if not opencv:
        assert len(build_segmenter("onnx", model=str(path)).segment(scene())) == 1  # the size is in the file
        with pytest.raises(UserError, match="no output 'nobody'"):
            build_segmenter("onnx", model=str(path), outputs=["nobody"])
