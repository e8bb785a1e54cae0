"""Videos of SynGait's subjects in front of a fixed camera, with the ground-truth mask of each person in each frame.

Subjects in coloured clothes walk past, stop, turn back and cross each other on a tiled floor in front of a brick wall;
they cast shadows, and the sensor is noisy. Everything is determined by the :class:`Scene`.

World: x to the right along the wall, y away from the camera, z up, metres, with the origin on the ground in the middle.

S frames of an appearance, H x W pixels of the picture.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dygait.files import write_atomically
from dygait.synthetic import renderer
from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import HEIGHT, WIDTH, Camera
from dygait.synthetic.gait import FRAMES_PER_SECOND, rotation
from dygait.synthetic.motion import Motion
from dygait.synthetic.presets import CASIA
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import draw_walk
from dygait.synthetic.world import World
from dygait.video_file import VideoFile

PLANS = ("pass", "stop", "return")
"""Actions of a subject: walks past, stops on the way, or turns back in the middle."""

_DISTANCE, _EYE, _AIM = 7.0, 1.5, 0.95  # the camera's distance, its height, and the height of its target, in metres
_FOCAL = 1.25  # focal length in widths of the picture
_WALL = 3.5  # metres from the middle to the wall
_BEYOND = 1.1  # metres outside the picture where walks begin and end
_SUN = np.array([[1, 0, 0.45], [0, 1, 0.25], [0, 0, 0.0]])  # projects a point to its shadow on the ground
_DARK = 0.35  # share of light that a shadow removes
_NOISE = 2.5  # standard deviation of the sensor's noise, in grey levels
_TURN = 0.9  # seconds of a turn
_RAMP = 9  # frames to reach full speed
_GROUND, _CLOTHES, _PLAN, _SENSOR = 11, 12, 13, 14  # seeds of the random generators


@dataclasses.dataclass(frozen=True)
class Appearance:
    """One passage of a subject in front of the camera."""

    subject: int
    kind: str  # type of the walk: nm-01, bg-01, cl-01, ...
    start: float  # seconds
    plan: str = "pass"
    rightward: bool = True
    depth: float = 0.0  # metres behind the middle of the scene
    pause: float = 3.0  # seconds that a stop lasts


@dataclasses.dataclass(frozen=True)
class Scene:
    """A video: its appearances, length and size."""

    appearances: tuple[Appearance, ...]
    seconds: float
    seed: int = 0  # seed of SynGait's subjects, and of clothes, background and noise
    world: World = CASIA  # only people and wardrobe are used
    width: int = 640
    height: int = 480

    @property
    def settings(self) -> Settings:
        """The settings of SynGait for the walks."""
        return Settings(train_ids=1, test_ids=0, frames=(1, 1), seed=self.seed, world=self.world)

    @property
    def frames(self) -> int:
        """The number of frames."""
        return round(self.seconds * FRAMES_PER_SECOND)


@dataclasses.dataclass(frozen=True)
class _Actor:
    """An appearance with its figure."""

    number: int  # value in the label maps, from 1
    first: int  # index of the first frame
    figure: Figure
    colours: list[tuple[int, int, int]]  # colour of each hull
    depths: np.ndarray  # float (S, P), metres from the camera


def plan_scene(
    subjects: Sequence[int], kinds: Sequence[str], seconds: float, seed: int = 0, most: int = 3, **fields: Any
) -> Scene:
    """Plan a video in which the subjects appear in turn, alone or in groups of up to `most`, until it ends.

    Args:
        subjects: the subjects, in the order of their appearances, which repeats.
        kinds: types of the walks; a subject takes the next one at each appearance.
        fields: other fields of the scene.
    """
    rng = np.random.default_rng([seed, _PLAN])
    appearances: list[Appearance] = []
    start, turn = 1.5, 0
    while start + 8 < seconds:
        end, depths = start, rng.permutation(np.linspace(-0.8, 1.8, most))
        for index in range(int(rng.integers(1, most + 1))):
            plan = PLANS[rng.choice(3, p=[0.6, 0.2, 0.2])]
            appearances.append(
                Appearance(
                    subject=subjects[turn % len(subjects)],
                    kind=kinds[(turn // len(subjects)) % len(kinds)],
                    start=start + index * rng.uniform(0.5, 2.0),
                    plan=plan,
                    rightward=bool(rng.integers(2)),
                    depth=float(depths[index]),
                    pause=rng.uniform(2, 5),
                )
            )
            turn += 1
            end = max(end, appearances[-1].start + 7.5 + (appearances[-1].pause if plan == "stop" else 0))
        start = end + 0.5
    return Scene(tuple(appearances), seconds, seed=seed, **fields)


def render(scene: Scene) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each frame, uint8 (H, W, 3), BGR, and its label map.

    The label map is uint8 (H, W): the number, from 1, of the appearance that is visible at each pixel, or 0.
    """
    camera = _camera(scene.width)
    background = _background(scene, camera)
    noise = _Noise(scene)
    waiting = sorted(enumerate(scene.appearances, 1), key=lambda item: item[1].start)
    present: list[_Actor] = []
    for frame in range(scene.frames):
        while waiting and waiting[0][1].start * FRAMES_PER_SECOND <= frame:
            number, appearance = waiting.pop(0)
            present.append(_actor(scene, camera, number, appearance, frame))
        present = [actor for actor in present if frame - actor.first < len(actor.figure.centres)]
        picture, labels = background.copy(), np.zeros((scene.height, scene.width), np.uint8)
        for actor in present:
            _draw_shadow(picture, actor, camera, frame - actor.first)
        for actor in sorted(present, key=lambda actor: -actor.depths[frame - actor.first].mean()):
            _draw_person(picture, labels, actor, camera, frame - actor.first)
        yield noise.add(cv2.GaussianBlur(picture, (3, 3), 0.6), frame), labels


def write_video(path: Path, scene: Scene, codec: str = "mp4v") -> dict[str, Any]:
    """Write a scene to a video file, and the boxes of its people to `<path>.json`, whose content is returned, too.

    Raises:
        UserError: the file cannot be written, or OpenCV has no such codec.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes: list[list[list[int]]] = [[] for _ in scene.appearances]
    with VideoFile(path, FRAMES_PER_SECOND, codec) as file:
        for frame, (picture, labels) in enumerate(render(scene)):
            file.write(picture)
            for number in np.unique(labels[labels > 0]).tolist():
                boxes[number - 1].append([frame, *cv2.boundingRect((labels == number).view(np.uint8))])
    people = [{**dataclasses.asdict(appearance), "boxes": boxes[n]} for n, appearance in enumerate(scene.appearances)]
    truth = {"frames_per_second": FRAMES_PER_SECOND, "frames": scene.frames, "seed": scene.seed, "people": people}
    write_atomically(path.with_name(f"{path.name}.json"), json.dumps(truth) + "\n")
    return truth


def _camera(width: int) -> Camera:
    position = np.array([0.0, -_DISTANCE, _EYE])
    forward = np.array([0.0, 0.0, _AIM]) - position
    forward /= np.linalg.norm(forward)
    right = np.array([1.0, 0.0, 0.0])
    return Camera(position, np.stack([right, np.cross(forward, right), forward]), _FOCAL * width)


def _actor(scene: Scene, camera: Camera, number: int, appearance: Appearance, first: int) -> _Actor:
    walk = draw_walk(scene.settings, appearance.subject, appearance.kind)
    half = _DISTANCE / _FOCAL / 2 * (1 + max(appearance.depth, 0) / _DISTANCE) + _BEYOND
    cycles, heading = _timeline(appearance, 2 * half, walk.gait.stride_metres, walk.gait.cycles_per_frame)
    phase = 0.05 + np.cumsum(cycles)
    motion = _bend_to_heading(walk.gait.pose(phase), heading, -half if appearance.rightward else half, appearance.depth)
    figure = walk.figure(motion, phase)
    colours = _colours(scene, appearance, figure.parts)
    return _Actor(number, first, figure, colours, renderer.depths(camera, figure))


def _timeline(appearance: Appearance, length: float, stride: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cycles walked in each frame and the heading in degrees to the left of x, float (S,) each.

    Args:
        length: metres from one side of the scene to the other.
        stride: metres per cycle.
        rate: cycles per frame.
    """
    ahead, back = (0.0, 180.0) if appearance.rightward else (180.0, 0.0)

    def walk(metres: float, heading: float) -> tuple[np.ndarray, np.ndarray]:
        count = max(1, round(round(2 * metres / stride) / 2 / rate))  # whole steps, to stop with both feet down
        return np.full(count, rate), np.full(count, heading)

    def stand(seconds: float, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        count = round(seconds * FRAMES_PER_SECOND)
        return np.zeros(count), ahead + turn * np.linspace(0, 1, count)

    legs = [walk(length, ahead)]
    if appearance.plan == "stop":
        legs = [walk(length / 2, ahead), stand(appearance.pause), walk(length / 2, ahead)]
    elif appearance.plan == "return":
        turn = back - ahead
        legs = [walk(length / 2, ahead), stand(_TURN, turn), walk(length / 2, back)]
    cycles, heading = (np.concatenate(parts) for parts in zip(*legs, strict=True))
    padded = np.pad(cycles, _RAMP // 2, mode="edge")
    return np.convolve(padded, np.full(_RAMP, 1 / _RAMP), "valid"), heading


def _bend_to_heading(motion: Motion, heading: np.ndarray, x: float, depth: float) -> Motion:
    """Bend a straight walk along x to the heading of each frame, (S,), starting at (x, depth)."""
    pelvis = motion.joints["pelvis"]
    steps = np.diff(pelvis[:, 0], prepend=pelvis[0, 0])
    radians = np.deg2rad(heading)
    position = np.stack(
        [x + np.cumsum(steps * np.cos(radians)), depth + np.cumsum(steps * np.sin(radians)), 0 * steps], -1
    )
    turn = rotation(heading, 0 * heading, 0 * heading)  # (S, 3, 3)
    straight = np.stack([pelvis[:, 0], 0 * steps, 0 * steps], -1)
    joints = {name: np.einsum("sij,sj->si", turn, at - straight) + position for name, at in motion.joints.items()}
    return Motion(joints, {name: turn @ frame for name, frame in motion.frames.items()})


_SKIN = ((140, 170, 220), (110, 145, 200), (75, 105, 160), (45, 65, 105))
_HAIR = ((25, 25, 30), (35, 50, 75), (70, 110, 150), (120, 120, 125))


def _colours(scene: Scene, appearance: Appearance, parts: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return the colour of each hull, which depends on the subject and the type of the walk only."""
    kind = sum(appearance.kind.encode())
    rng = np.random.default_rng([scene.seed, _CLOTHES, appearance.subject])
    skin, hair = _SKIN[rng.integers(4)], _HAIR[rng.integers(4)]
    rng = np.random.default_rng([scene.seed, _CLOTHES, appearance.subject, kind])
    shirt, trousers, shoes, bag = (
        rng.integers(low, high, 3) for low, high in ((20, 235), (20, 110), (10, 60), (20, 160))
    )
    bare = rng.random() < 0.3 and not appearance.kind.startswith("cl")
    by_part = {
        **dict.fromkeys(("trunk", "upper"), shirt),
        "forearm": skin if bare else shirt,
        **dict.fromkeys(("thigh", "shank"), trousers),
        **dict.fromkeys(("head", "neck", "hand"), skin),
        "foot": shoes,
        "hair": hair,
        "bag": bag,
    }
    colours = []
    for part in parts:
        shade = 0.88 if part.endswith("1") else 1.0  # one side is darker
        blue, green, red = (int(shade * level) for level in by_part.get(part.split()[0], bag))
        colours.append((blue, green, red))
    return colours


def _outlines(
    figure: Figure, camera: Camera, frame: int, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]] | None:
    """Return the outlines of the hulls in a frame, (P, K, 2), relative to a window around the figure, and the window.

    The window is left, top, right and bottom in pixels, within a picture of `size` (width, height). None: the figure is
    outside of the picture.
    """
    figure = figure.at(slice(frame, frame + 1))
    centres, ellipses = renderer.project(camera, figure)
    centres = centres + np.array([size[0] - WIDTH, size[1] - HEIGHT])[:, None, None] / 2
    low, high = (edges[:, 0] for edges in renderer.bounds(centres, ellipses))
    low, high = np.floor(low).astype(int) - 2, np.ceil(high).astype(int) + 3
    (left, top), (right, bottom) = np.clip(low, 0, size).tolist(), np.clip(high, 0, size).tolist()
    if left >= right or top >= bottom:
        return None
    corners = renderer.outlines(figure, centres, ellipses, np.array([[left, top]], np.int32))
    return corners[0], (left, top, right, bottom)


def _draw_person(picture: np.ndarray, labels: np.ndarray, actor: _Actor, camera: Camera, frame: int) -> None:
    """Draw an actor into a picture and into its label map, from the furthest hull to the nearest."""
    outlines = _outlines(actor.figure, camera, frame, (picture.shape[1], picture.shape[0]))
    if outlines is None:
        return
    corners, (left, top, right, bottom) = outlines
    window = picture[top:bottom, left:right]
    mask = np.zeros(window.shape[:2], np.uint8)
    layer: np.ndarray = np.zeros(window.shape, np.uint8)
    for hull in np.argsort(-actor.depths[frame]):
        cv2.fillConvexPoly(layer, corners[hull], actor.colours[hull], cv2.LINE_8, renderer.SUBPIXEL_BITS)
        cv2.fillConvexPoly(mask, corners[hull], 255, cv2.LINE_8, renderer.SUBPIXEL_BITS)
    folds = _cloth(window.shape[0], window.shape[1])
    layer = cv2.multiply(layer, folds, dtype=cv2.CV_8U)
    cv2.copyTo(layer, mask, window)
    labels[top:bottom, left:right][mask > 0] = actor.number


def _draw_shadow(picture: np.ndarray, actor: _Actor, camera: Camera, frame: int) -> None:
    """Darken the ground in an actor's shadow."""
    figure = actor.figure
    shadow = dataclasses.replace(figure, centres=figure.centres @ _SUN.T, axes=_SUN @ figure.axes)
    outlines = _outlines(shadow, camera, frame, (picture.shape[1], picture.shape[0]))
    if outlines is None:
        return
    corners, (left, top, right, bottom) = outlines
    mask = np.zeros((bottom - top, right - left), np.uint8)
    renderer.fill(mask, corners)
    light = 1 - _DARK / 255 * cv2.GaussianBlur(mask, (5, 5), 0).astype(np.float32)
    window = picture[top:bottom, left:right]
    window[:] = window * light[:, :, None]


def _cloth(height: int, width: int) -> np.ndarray:
    """Return the brightness of folds of cloth, as factors, float32 (height, width, 3)."""
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    folds = 1 + 0.06 * np.sin(0.35 * x + 0.11 * y) + 0.05 * np.sin(0.23 * y - 0.17 * x)
    return np.repeat(folds[:, :, None], 3, 2).astype(np.float32)


def _background(scene: Scene, camera: Camera) -> np.ndarray:
    """Return the empty scene, uint8 (H, W, 3): a tiled floor in front of a brick wall with posters."""
    rng = np.random.default_rng([scene.seed, _GROUND])
    rows, columns = np.mgrid[: scene.height, : scene.width].astype(np.float64)
    rays = np.stack([columns - scene.width / 2, rows - scene.height / 2, np.full(rows.shape, camera.focal)], -1)
    rays = rays @ camera.rotation  # (H, W, 3), in the world
    to_wall = (_WALL - camera.position[1]) / rays[..., 1]
    to_floor = np.where(rays[..., 2] < 0, -camera.position[2] / np.minimum(rays[..., 2], -1e-9), np.inf)
    is_floor = to_floor < to_wall
    x, y, z = np.moveaxis(camera.position + rays * np.minimum(to_wall, to_floor)[..., None], -1, 0)
    course = np.floor(z / 0.10)
    brick = (np.floor(x / 0.25 + 0.5 * (course % 2)), course)
    tile = (np.floor(x / 0.6), np.floor(y / 0.6))
    levels = rng.normal(0, 9, (64, 64))
    level = np.where(is_floor, *(levels[a.astype(int) % 64, b.astype(int) % 64] for a, b in (tile, brick)))
    joint = np.where(
        is_floor, np.minimum(x % 0.6, y % 0.6) < 0.02, np.minimum((x + 0.125 * (course % 2)) % 0.25, z % 0.10) < 0.012
    )
    base = np.where(is_floor[..., None], rng.integers(100, 160, 3), rng.integers(120, 190, 3))
    picture = base + level[..., None] - 25.0 * joint[..., None]
    for _ in range(3):  # posters
        left, bottom = rng.uniform(-3.5, 3), rng.uniform(0.8, 1.6)
        inside = ~is_floor & (np.abs(x - left) < 0.35) & (z > bottom) & (z < bottom + 0.9)
        picture[inside] = rng.integers(30, 230, 3) + 0.8 * level[inside, None]
    grain = cv2.GaussianBlur(rng.normal(0, 1, picture.shape[:2]), (0, 0), 1.2)
    return np.clip(picture + 12 * grain[..., None], 0, 255).astype(np.uint8)


class _Noise:
    """The noise of a sensor, and slight changes of the light."""

    def __init__(self, scene: Scene) -> None:
        self._rng = np.random.default_rng([scene.seed, _SENSOR])
        levels = np.rint(self._rng.normal(0, _NOISE, (scene.height + 64, scene.width + 64, 3)))
        self._lighter, self._darker = (np.clip(sign * levels, 0, 255).astype(np.uint8) for sign in (1, -1))

    def add(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """Return a noisy picture."""
        height, width = picture.shape[:2]
        row, column = self._rng.integers(64, size=2)
        part = np.s_[row : row + height, column : column + width]
        lit = cv2.convertScaleAbs(picture, alpha=1 + 0.012 * float(np.sin(frame / 90)))
        return cv2.subtract(cv2.add(lit, self._lighter[part]), self._darker[part])
