from typing import Any

import numpy as np
import pytest

from dygait.config_problems import Problem
from dygait.data.transforms import build_transform, transform_problems
from dygait.errors import UserError


def frames(height: int = 6, width: int = 64, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width), dtype=np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestCutting:
    @pytest.mark.parametrize(
        ("width", "spec", "cut"),
        [(64, {}, 10), (128, {}, 20), (44, {}, 0), (88, {}, 0), (50, {"cutting": 5}, 5), (64, {"cutting": 31}, 31)],
    )
    def test_columns(self, width: int, spec: dict[str, int], cut: int) -> None:
        x = frames(width=width)
        result = build_transform({"type": "BaseSilCuttingTransform", **spec})(x, rng())
        assert result.dtype == np.uint8
        assert np.array_equal(result, x[:, :, cut : width - cut])

    def test_other_widths_need_cutting(self) -> None:
        with pytest.raises(UserError, match=r"frames are 50 wide.*`cutting`"):
            build_transform({"type": "BaseSilCuttingTransform"})(frames(width=50), rng())

    @pytest.mark.parametrize("cutting", [-1, 32, 40])
    def test_cutting_all_columns(self, cutting: int) -> None:
        with pytest.raises(UserError, match=f"cutting {cutting} columns"):
            build_transform({"type": "BaseSilCuttingTransform", "cutting": cutting})(frames(), rng())


class TestOthers:
    def test_base(self) -> None:
        x = frames()
        transform = build_transform({"type": "BaseSilTransform"})
        assert transform(x, rng()) is x
        assert transform.divisor == 255.0
        assert build_transform({"type": "BaseSilTransform", "divisor": 1}).divisor == 1

    def test_reshaping_rows(self) -> None:
        x = frames()
        transform = build_transform({"type": "BaseSilTransform", "img_shape": [6, 64]})
        assert np.array_equal(transform(x.reshape(3, 1, 384), rng()), x)
        with pytest.raises(UserError, match=r"frames of \(6, 10\) do not reshape to img_shape \[6, 64\]"):
            transform(x[:, :, :10], rng())

    def test_no_operation(self) -> None:
        x = frames()
        transform = build_transform({"type": "NoOperation"})
        assert transform(x, rng()) is x
        assert transform.divisor == 1

    def test_shrinking_averages_the_area(self) -> None:
        x = frames(8, 12)
        result = build_transform({"type": "Resize", "size": [4, 6]})(x, rng())
        assert result.dtype == np.uint8
        mean = x.reshape(3, 4, 2, 6, 2).astype(float).mean((2, 4))
        assert np.abs(result - mean).max() <= 0.5, "the mean of 2x2, rounded"

    def test_other_sizes(self) -> None:
        x = frames(8, 12)
        assert build_transform({"type": "Resize", "size": [8, 12]})(x, rng()) is x
        assert build_transform({"type": "Resize", "size": [16, 24]})(x, rng()).shape == (3, 16, 24)
        mirrored = build_transform({"type": "Resize", "size": [4, 6]})(x[:, :, ::-1], rng())
        assert np.array_equal(
            mirrored, build_transform({"type": "Resize", "size": [4, 6]})(x.copy(), rng())[:, :, ::-1]
        )


class TestCompose:
    STEPS = (
        {"type": "RandomHorizontalFlip", "prob": 1.0},
        {"type": "BaseSilCuttingTransform"},
        {"type": "Resize", "size": [3, 22]},
    )

    @pytest.mark.parametrize("form", ["list", "compose", "compose in a compose"])
    def test_one_after_the_other(self, form: str) -> None:
        steps: list[Any] = list(self.STEPS)
        if form == "compose in a compose":
            steps[1:] = [{"type": "Compose", "trf_cfg": steps[1:]}]
        transform = build_transform(steps if form == "list" else {"type": "Compose", "trf_cfg": steps})
        x = frames()
        result = transform(x, rng())
        expected = x[:, :, ::-1][:, :, 10:54].reshape(3, 3, 2, 22, 2).astype(float).mean((2, 4))
        assert np.abs(result - expected).max() <= 0.5
        assert transform.divisor == 255

    @pytest.mark.parametrize(
        ("steps", "divisor"),
        [
            ([], 1),
            ([{"type": "NoOperation"}], 1),
            ([{"type": "BaseSilTransform", "divisor": 51}, {"type": "BaseSilTransform", "divisor": 5}], 255),
        ],
    )
    def test_divisors_multiply(self, steps: list[dict[str, Any]], divisor: float) -> None:
        assert build_transform(steps).divisor == divisor


class TestParsing:
    def test_classes_are_cut_and_not_scaled(self) -> None:
        transform = build_transform({"type": "BaseParsingCuttingTransform"})
        maps = np.arange(2 * 3 * 64, dtype=np.uint8).reshape(2, 3, 64) % 12
        assert np.array_equal(transform(maps, rng()), maps[:, :, 10:54])
        assert transform.divisor == 1

    def test_silhouettes_are_an_error(self) -> None:
        with pytest.raises(UserError, match="BaseSilCuttingTransform"):
            build_transform({"type": "BaseParsingCuttingTransform"})(np.full((1, 2, 64), 255, np.uint8), rng())


class TestProblems:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ([{"type": "NoOperation"}, {"type": "Resize", "size": [3, 2]}], []),
            ([{"type": "NoOperation"}, {"type": "Resize"}], [Problem(("1", "size"), "this key is required")]),
            (
                {"type": "Compose", "trf_cfg": [{"type": "Compose", "trf_cfg": [{"type": "Resize"}]}]},
                [Problem(("trf_cfg", "0", "trf_cfg", "0", "size"), "this key is required")],
            ),
            (["Resize"], [Problem(("0",), "must be a mapping with a `type`")]),
            ("Resize", [Problem((), "must be a mapping with a `type`")]),
        ],
    )
    def test_of_mappings_and_lists(self, spec: Any, expected: list[Problem]) -> None:
        assert transform_problems(spec) == expected

    @pytest.mark.parametrize("size", [[3], [3, 4, 5], [0, 4], "3x4"])
    def test_an_impossible_size(self, size: Any) -> None:
        (problem,) = transform_problems({"type": "Resize", "size": size})
        assert problem.path[0] == "size"
        with pytest.raises(UserError, match="size"):
            build_transform({"type": "Resize", "size": size})
