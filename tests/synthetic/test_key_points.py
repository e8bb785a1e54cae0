"""SynGait's key points lie in the silhouettes, and heat maps from files equal rendered ones."""

import numpy as np

from dygait.cli import main
from dygait.data.stores import open_store
from dygait.synthetic.key_points import key_points
from dygait.synthetic.settings import PRESETS, parse_address
from dygait.synthetic.walker import render_sequence, walk


def test_key_points_are_in_the_body() -> None:
    settings = PRESETS["quick"]
    figure = walk(settings, 1, "nm-01")
    frames = [3, 17]
    for view in ("000", "090", "162"):
        points = key_points(settings, 1, "nm-01", view, figure, frames)
        pictures = render_sequence(settings, 1, "nm-01", view, figure, frames)
        inside = [
            picture[max(int(y) - 3, 0) : int(y) + 4, int(x) - 3 : int(x) + 4].any()
            for picture, body in zip(pictures, points, strict=True)
            for x, y in body
        ]
        assert np.mean(inside) > 0.9, "except for segmentation faults"
        left, right = points[:, 5::2], points[:, 6::2]
        order = np.sign((left - right)[..., 0].mean())
        assert order == {"000": 1, "162": -1}.get(view, order), "from the front, the left side is on the right"
        assert (points[:, 15:, 1].mean() - points[:, 0, 1].mean()) > 60


def test_files_equal_rendered_frames(tmp_path) -> None:  # type: ignore[no-untyped-def]
    address = "syngait://quick?seed=3&train_ids=1&test_ids=0&frames=3&heatmaps=1"
    settings = parse_address(address)
    assert parse_address(settings.address) == settings
    size = ["--train-ids", "1", "--test-ids", "0", "--frames", "3", "3", "--seed", "3"]
    main(["synth", "--output", str(tmp_path / "s"), "--heatmaps", "--workers", "1", *size])
    files, rendered = open_store(tmp_path / "s"), open_store(address)
    assert files.num_files(0) == rendered.num_files(0) == 2
    for index in (0, 50):
        for file, shape in enumerate([(3, 2, 64, 64), (3, 64, 64)]):
            from_file, from_renderer = files.read(index, file), rendered.read(index, file)
            assert from_file.shape == from_renderer.shape == shape
            assert np.array_equal(from_file, from_renderer[:])
            assert np.array_equal(from_file[[2, 0]], from_renderer[np.array([2, 0])])
    without_heat_maps = open_store(address.replace("&heatmaps=1", ""))
    assert without_heat_maps.num_files(0) == 1
    assert np.array_equal(without_heat_maps.read(50)[:], rendered.read(50, 1)[:])
