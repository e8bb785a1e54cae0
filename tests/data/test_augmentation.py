"""The random transforms against pixel-by-pixel references, at all usual frame sizes."""

import inspect
from typing import Any

import numpy as np
import pytest

from dygait.config_problems import Problem
from dygait.data.augmentation import warp
from dygait.data.transforms import TRANSFORMS, build_transform, transform_problems
from dygait.errors import UserError
from reference import transforms as reference

EACH, PER_FRAME = {"per_frame": True}, ["RandomErasing", "RandomPartBlur"]
SIZES = [(64, 44), (64, 64), (128, 88), (128, 128)]
WARPS = ["RandomRotate", "RandomPerspective", "RandomAffine"]
PARTS = ["RandomPartDilate", "RandomPartBlur"]
NAMES = ["RandomHorizontalFlip", "RandomErasing", *WARPS, *PARTS]


def frames(height: int = 64, width: int = 44, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (count, height, width), dtype=np.uint8)


def bump(height: int, width: int, count: int = 3) -> np.ndarray:
    """Return smooth grey levels that fade out on all sides, sensitive to wrong coordinates but not to rounded ones."""
    down, right = (np.sin(np.linspace(0, 2 * np.pi, length)) ** 2 for length in (height, width))
    profile = np.outer(down, right)
    return np.stack([np.rint(255 * profile / (1 + k)).astype(np.uint8) for k in range(count)])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def always(name: str, **more: Any) -> Any:
    return build_transform({"type": name, "prob": 1.0, **more})


class FakeGenerator:
    """A random generator that returns these values."""

    def __init__(self, *draws: Any) -> None:
        self.draws = list(draws)

    def random(self, size: Any = None, dtype: Any = float) -> Any:
        draw = self.draws.pop(0)
        return draw if size is None else np.broadcast_to(np.asarray(draw, dtype), size)


class TestAll:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("spec", "low", "high"),
        [({}, 150, 250), ({"prob": 0}, 0, 0), ({"prob": 1.0}, 400, 400)],  # 200 expected, standard deviation 10
    )
    def test_the_probability(self, name: str, spec: dict[str, Any], low: int, high: int) -> None:
        x, transform = frames(count=1), build_transform({"type": name, **spec})
        assert low <= sum(transform(x, rng(seed)) is not x for seed in range(400)) <= high

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("name", NAMES)
    def test_a_pure_function_of_frames_and_generator(self, name: str, size: tuple[int, int]) -> None:
        x, transform = frames(*size), always(name)
        x.flags.writeable = False
        first = transform(x, rng(3))
        copy = first.copy()
        second = transform(x, rng(4))
        assert name == "RandomHorizontalFlip" or not np.array_equal(second, first)
        assert np.array_equal(first, copy), "a later call does not change the result"
        assert np.array_equal(transform(x, rng(3)), copy)
        assert (first.dtype, first.shape) == (np.uint8, x.shape)
        assert transform.divisor == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_all_channels_alike(self, name: str) -> None:
        x = frames(count=40).reshape(20, 2, 64, 44)
        result = always(name)(x, rng(2))
        for channel in range(2):
            assert np.array_equal(result[:, channel], always(name)(x[:, channel], rng(2)))

    @pytest.mark.parametrize("name", NAMES)
    def test_all_frames_alike(self, name: str) -> None:
        for count in (1, 2, 4, 7, 8, 16, 17, 30, 64, 65, 100):
            x = np.repeat(frames(count=1), count, axis=0)
            result = always(name)(x, rng(2))
            assert result.shape == x.shape
            assert (result == result[0]).all(), count
            assert np.array_equal(result[0], always(name)(x[:1], rng(2))[0]), "whatever the number of frames"

    @pytest.mark.parametrize(("name", "more"), [*((n, {}) for n in NAMES), *((n, EACH) for n in PER_FRAME)])
    def test_any_strides(self, name: str, more: dict[str, Any]) -> None:
        transform = always(name, **more)
        x = frames(64, 64, 20)
        for view in (x[:, :, 10:54], x[:, :, ::-1], x[::-2], np.broadcast_to(x[0], x.shape)):
            assert not view.flags.c_contiguous
            copy = view.copy()
            assert np.array_equal(transform(view, rng(1)), transform(copy, rng(1)))
            assert np.array_equal(view, copy)


def test_a_flip_mirrors_the_whole_sequence() -> None:
    x = frames()
    assert np.array_equal(always("RandomHorizontalFlip")(x, rng()), x[:, :, ::-1])


class TestErasing:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("settings", [{}, {"sl": 0.02, "sh": 0.3, "r1": 0.5}])
    def test_area_and_shape(self, size: tuple[int, int], settings: dict[str, float]) -> None:
        sl, sh, r1 = ({"sl": 0.05, "sh": 0.2, "r1": 0.3} | settings).values()
        white, transform = np.full((1, *size), 255, np.uint8), always("RandomErasing", **settings)
        shares, shapes = [], []
        for seed in range(100):
            rectangle = reference.black_rectangle(transform(white, rng(seed))[0])
            _, _, height, width = rectangle
            share, shape = height * width / (size[0] * size[1]), height / width
            # Height and width are rounded by up to half a pixel.
            rounding = (height + width + 1) / 2 / (size[0] * size[1])
            assert sl - rounding <= share <= sh + rounding
            assert (height - 0.5) / (width + 0.5) <= 1 / r1
            assert (height + 0.5) / (width - 0.5) >= r1
            shares.append(share)
            shapes.append(shape)
        assert abs(np.mean(shares) - (sl + sh) / 2) < (sh - sl) / 6, "uniform"
        assert min(shares) < sl + (sh - sl) / 5
        assert max(shares) > sh - (sh - sl) / 5
        assert abs(np.mean(shapes) - (r1 + 1 / r1) / 2) < (1 / r1 - r1) / 6, "uniform"

    def test_anywhere_inside(self) -> None:
        white = np.full((2, 8, 9), 255, np.uint8)
        transform = always("RandomErasing", sl=16 / 72, sh=16 / 72, r1=1.0)
        positions = set()
        for seed in range(600):
            result = transform(white, rng(seed))
            rectangle = reference.black_rectangle(result[0])
            assert rectangle[2:] == (4, 4)
            positions.add(rectangle[:2])
        assert positions == {(top, left) for top in range(5) for left in range(6)}

    def test_a_rectangle_as_wide_or_high_as_the_frame_is_drawn_again(self) -> None:
        for settings in ({"sl": 1.0, "sh": 1.0, "r1": 1.0}, {"sl": 64 / 128, "sh": 64 / 128, "r1": 1.0}):
            white = np.full((2, 8, 16), 255, np.uint8)
            assert np.array_equal(always("RandomErasing", **settings)(white, rng()), white), "no rectangle fits"

        transform = always("RandomErasing", sl=0.1, sh=1.0, r1=1.0)
        for seed in range(50):
            assert reference.black_rectangle(transform(white, rng(seed))[0]) is not None

    def test_per_frame(self) -> None:
        white = np.full((400, 64, 44), 255, np.uint8)
        result = build_transform({"type": "RandomErasing", "per_frame": True})(white, rng())
        rectangles = [reference.black_rectangle(f) for f in result]
        erased = [r for r in rectangles if r is not None]
        assert 150 < len(erased) < 250  # 200 expected, standard deviation 10
        assert len(set(erased)) > 0.9 * len(erased)
        never = build_transform({"type": "RandomErasing", "per_frame": True, "prob": 0.0})
        assert never(white, rng()) is white


def example(kind: str, height: int, width: int) -> np.ndarray:
    """Return a matrix from pixels of the result to positions in the input frame, (2, 3) or (3, 3)."""
    turn = np.array([[0.985, -0.174], [0.174, 0.985]])
    middle = np.array([width - 1, height - 1]) / 2
    if kind == "rotation":
        return np.column_stack([turn, middle - turn @ middle])
    if kind == "affine":
        return np.array([[0.81, 0.07, 3.3], [-0.12, 1.13, -2.7]])
    return np.array([[0.9, 0.05, 1.6], [0.03, 1.02, -1.2], [0.0006, -0.0011, 1.0]])


class TestWarp:
    @pytest.mark.parametrize("count", [1, 17, 30, 66])
    @pytest.mark.parametrize("kind", ["rotation", "affine", "homography"])
    def test_noise_as_the_reference(self, kind: str, count: int) -> None:
        """OpenCV may round coordinates to 1/32 pixel, which changes a level by up to 255 / 64 for either coordinate."""
        x, source = frames(count=count), example(kind, 64, 44)
        result = warp(x, source)
        difference = result[-1] - reference.warp(x[-1], source)
        assert np.abs(difference).max() < 9
        assert np.abs(difference).mean() < 1.5
        assert np.abs(difference.mean()) < 0.1

    @pytest.mark.parametrize("size", SIZES)
    def test_the_identity(self, size: tuple[int, int]) -> None:
        x = frames(*size)
        assert np.array_equal(warp(x, np.eye(3)), x)
        assert np.array_equal(warp(x, np.eye(2, 3)), x)
        assert np.array_equal(always("RandomPerspective")(x, FakeGenerator(0.0, 0.0)), x), "corners do not move"
        assert np.array_equal(always("RandomAffine")(x, FakeGenerator(0.0, 0.25)), x), "equal triangles"

    def test_shifts_by_whole_pixels_fill_with_black(self) -> None:
        x = frames()
        result = warp(x, np.array([[1.0, 0, 3], [0, 1, -5]]))
        expected = np.zeros_like(x)
        expected[:, 5:, :-3] = x[:, :-5, 3:]
        assert np.array_equal(result, expected)


def draw_matrix(name: str, size: tuple[int, int], seed: int, **more: Any) -> np.ndarray:
    draws = rng(seed)
    draws.random()
    return always(name, **more).source(*size, draws)  # type: ignore[no-any-return]


def corners(size: tuple[int, int]) -> list[tuple[float, float]]:
    height, width = size
    return [(-0.5, -0.5), (width - 0.5, -0.5), (-0.5, height - 0.5), (width - 0.5, height - 0.5)]


class TestWarps:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("name", WARPS)
    def test_the_warp_follows_the_drawn_matrix(self, name: str, size: tuple[int, int]) -> None:
        x = bump(*size)
        expected = reference.warp(x[0], draw_matrix(name, size, 7))
        assert np.abs(expected - x[0]).max() > 20
        assert np.abs(always(name)(x, rng(7))[0] - expected).max() < 2


class TestRotate:
    @pytest.mark.parametrize("size", [*SIZES, (33, 21)])
    def test_about_the_middle_by_up_to_so_many_degrees(self, size: tuple[int, int]) -> None:
        middle = (size[1] - 1) / 2, (size[0] - 1) / 2
        for settings, limit in (({}, 10), ({"degree": 45}, 45), ({"degree": 0.5}, 0.5)):
            angles = []
            for seed in range(100):
                source = draw_matrix("RandomRotate", size, seed, **settings)
                assert reference.transform_point(source, *middle) == pytest.approx(middle)
                u, v = reference.transform_point(source, middle[0] + 1, middle[1])
                angles.append(float(np.degrees(np.arctan2(v - middle[1], u - middle[0]))))
                assert np.hypot(u - middle[0], v - middle[1]) == pytest.approx(1), "nothing is scaled"
            assert max(np.abs(angles)) <= limit + 1e-6
            assert min(angles) < -0.8 * limit
            assert max(angles) > 0.8 * limit
            assert abs(np.mean(angles)) < limit / 4


class TestPerspective:
    @pytest.mark.parametrize(("size", "reach"), zip(SIZES, [10, 10, 20, 20], strict=True))
    def test_corners_of_the_result_lie_on_top_and_bottom_edge(self, size: tuple[int, int], reach: float) -> None:
        moves = []
        for seed in range(50):
            source = draw_matrix("RandomPerspective", size, seed)
            for (x, y), side in zip(corners(size), (1, -1, 1, -1), strict=True):
                u, v = reference.transform_point(source, x, y)
                assert v == pytest.approx(y, abs=1e-3)
                assert -1e-3 <= (u - x) * side <= reach + 1e-3
                moves.append((u - x) * side)
        assert np.mean(moves) == pytest.approx(reach / 2, rel=0.15)
        assert max(moves) > 0.9 * reach
        assert min(moves) < 0.1 * reach


class TestAffine:
    @pytest.mark.parametrize(("size", "reach"), zip(SIZES, [10, 10, 20, 20], strict=True))
    def test_one_triangle_goes_to_the_other(self, size: tuple[int, int], reach: float) -> None:
        inwards = ((1, 1), (-1, 1), (1, -1))

        def triples(m: np.ndarray) -> Any:
            return zip(corners(size)[:3], inwards, m, strict=True)

        for seed in range(20):
            moves = rng(seed).random((2, 3, 2), np.float32)
            before, after = (
                [(x + i * reach * a, y + j * reach * b) for (x, y), (i, j), (a, b) in triples(m)]
                for m in moves.astype(float)
            )
            source = always("RandomAffine").source(*size, FakeGenerator(moves))
            for start, end in zip(before, after, strict=True):
                assert reference.transform_point(source, *end) == pytest.approx(start, abs=1e-3)

    def test_the_degree_is_accepted_and_changes_nothing(self) -> None:
        x = frames()
        assert np.array_equal(always("RandomAffine", degree=45)(x, rng()), always("RandomAffine")(x, rng()))


class FakeIntegers:
    """A random generator that returns 0 for the probability, and then these integers."""

    def __init__(self, *draws: int) -> None:
        self.draws = list(draws)

    def random(self) -> float:
        return 0.0

    def integers(self, low: int, high: int | None = None) -> int:
        draw = self.draws.pop(0)
        assert (0, low)[high is not None] <= draw < (high or low)
        return draw


class TestParts:
    @pytest.mark.parametrize("shape", range(3))
    @pytest.mark.parametrize("kernel", range(3))
    def test_dilation(self, shape: int, kernel: int) -> None:
        """The largest level in a rectangle, a cross or an ellipse, without the rows outside the part."""
        x = frames(20, 14, 2)
        result = always("RandomPartDilate", top_range=[3, 5], bot_range=[9, 12])(x, FakeIntegers(4, 11, shape, kernel))
        width, height = ((5, 3), (5, 5), (3, 5))[kernel] if shape == 0 else ((3, 3), (3, 5), (5, 3))[kernel]
        expected = x.copy()
        for n in range(2):
            expected[n, 4:11] = reference.dilate(x[n, 4:11], shape, width, height)
        assert np.array_equal(result, expected)

    def test_blur(self) -> None:
        x = frames(20, 14, 2) // 3
        result = always("RandomPartBlur", top_range=[3, 5], bot_range=[9, 12])(x, FakeIntegers(4, 11))
        expected = x.copy()
        for n in range(2):
            expected[n, 4:11] = 255 * (reference.blur(x[n, 4:11]) > 0.2 * 255)
        assert np.array_equal(result, expected)
        assert 0 < (result[:, 4:11] == 255).mean() < 1

    def test_blur_per_frame(self) -> None:
        x = np.repeat(frames(count=1), 200, axis=0)
        result = build_transform({"type": "RandomPartBlur", "per_frame": True})(x, rng())
        changed = [frame for frame in result if not np.array_equal(frame, x[0])]
        assert 70 < len(changed) < 130
        assert len({frame.tobytes() for frame in changed}) > 0.5 * len(changed)

    def test_frames_of_too_few_rows(self) -> None:
        with pytest.raises(UserError, match="16 high: set `top_range`"):
            always("RandomPartDilate")(frames(16, 11), rng())

    def test_gaitssbs_augmentation(self) -> None:
        transform = build_transform({"type": "DA4GaitSSB"})
        assert transform.divisor == 255
        probabilities = {"ra_prob": 0.0, "rp_prob": 0.0, "rhf_prob": 1.0, "rpd_prob": 0.0, "rpb_prob": 0.0}
        x = np.where(frames(64, 64) > 250, 255, 0).astype(np.uint8)
        assert np.array_equal(build_transform({"type": "DA4GaitSSB", **probabilities})(x, rng()), x[:, :, 53:9:-1])
        augmented = build_transform({"type": "DA4GaitSSB", "cutting": 4, **dict.fromkeys(probabilities, 1.0)})(x, rng())
        assert augmented.shape == (5, 64, 56)
        assert set(np.unique(augmented[:, 20:39]).tolist()) == {0, 255}, "rows in every blurred part"
        assert len(np.unique(augmented[:, :9])) > 20


class TestProblems:
    @pytest.mark.parametrize(
        ("spec", "key", "message"),
        [
            *(({"type": n, "prob": p}, "prob", f"got {p}") for n in NAMES for p in (-0.1, 1.5)),
            ({"type": "RandomErasing", "sl": 0.3}, "sl", "above the largest, 0.2"),
            ({"type": "RandomErasing", "sl": -0.1}, "sl", "got -0.1"),
            ({"type": "RandomErasing", "sh": 20}, "sh", "got 20"),
            *(({"type": "RandomErasing", "r1": r}, "r1", f"got {r}") for r in (0, 3.3)),
            *(({"type": "RandomRotate", "degree": d}, "degree", f"got {d}") for d in (-10, 181)),
            ({"type": "RandomAffine", "degree": -1}, "degree", "got -1"),
            *(({"type": n, "top_range": [12, 40]}, "top_range", "must end above bot_range") for n in PARTS),
            (
                {"type": "RandomPartBlur", "bot_range": [40, 29]},
                "bot_range",
                "the first row, 40, is below the last, 29",
            ),
            ({"type": "DA4GaitSSB", "top_range": [9, 60]}, "top_range", "must end above bot_range, which starts at 39"),
            ({"type": "DA4GaitSSB", "rpd_prob": 2}, "rpd_prob", "got 2"),
        ],
    )
    def test_one_at_a_time(self, spec: dict[str, Any], key: str, message: str) -> None:
        (problem,) = transform_problems(spec)
        assert problem.path == (key,)
        with pytest.raises(UserError, match=f"{key}: .*{message}"):
            build_transform(spec)
        (inner,) = transform_problems([{"type": "NoOperation"}, {"type": "Compose", "trf_cfg": [spec]}])
        assert inner == Problem(("1", "trf_cfg", "0", key), problem.message)

    @pytest.mark.parametrize(
        ("name", "defaults"),
        [
            ("RandomHorizontalFlip", {}),
            ("RandomErasing", {"sl": 0.05, "sh": 0.2, "r1": 0.3, "per_frame": False}),
            ("RandomRotate", {"degree": 10}),
            ("RandomPerspective", {}),
            ("RandomAffine", {"degree": 10}),
            ("RandomPartDilate", {"top_range": [12, 16], "bot_range": [36, 40]}),
            ("RandomPartBlur", {"top_range": [9, 20], "bot_range": [29, 40], "per_frame": False}),
        ],
    )
    def test_the_defaults_are_opengaits(self, name: str, defaults: dict[str, float]) -> None:
        parameters = inspect.signature(TRANSFORMS.get(name)).parameters
        assert {key: parameter.default for key, parameter in parameters.items()} == {"prob": 0.5, **defaults}
