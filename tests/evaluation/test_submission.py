import zipfile
from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation import SUBMISSIONS, Options, ReRank, write_submission
from reference import metrics as reference

GREW, HID = SUBMISSIONS["GREW/submission"], SUBMISSIONS["HID/submission"]
HEADER = f"videoId,{','.join(f'rank{k}' for k in range(1, 21))}\n"


def data(subjects: int = 12) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Subject k at k and at k + 0.25 on a line; probes of the names b, a, c at 0, 20 and 3.125."""
    rows = [(f"{k:05d}", f"{1 + s:02d}", f"v{k}{s}", k + 0.25 * s) for k in range(1, subjects + 1) for s in range(2)]
    rows += [("probe", "03", "b", 0.0), ("probe", "03", "a", 20.0), ("probe", "03", "c", 3.125)]
    rows += [("00001train", "00", "t", 0.0)]
    ids, types, views, positions = (list(column) for column in zip(*rows, strict=True))
    return np.array(positions, np.float32)[:, None, None], ids, types, views


def test_exact_bytes(tmp_path: Path) -> None:
    csv, zipped = write_submission(GREW, *data(), tmp_path / "new" / "submission.csv")
    ascending = [k for k in range(1, 11) for _ in range(2)]
    descending = [k for k in range(12, 2, -1) for _ in range(2)]
    # 3.0 and 3.25 are equally far from 3.125, and so are 2.0 and 4.25, 2.25 and 4.0: gallery order decides.
    alternating = [3, 3, 2, 4, 2, 4, 1, 5, 1, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10]
    rows = [("a", descending), ("b", ascending), ("c", alternating)]
    expected = HEADER + "".join(f"{name},{','.join(map(str, ids))}\n" for name, ids in rows)
    assert csv.read_bytes() == expected.encode()
    assert csv == tmp_path / "new" / "submission.csv"
    assert zipped == tmp_path / "new" / "submission.zip"
    with zipfile.ZipFile(zipped) as archive:
        assert archive.namelist() == ["submission.csv"]
        assert archive.read("submission.csv") == expected.encode()
    assert sorted(p.name for p in csv.parent.iterdir()) == ["submission.csv", "submission.zip"]
    repeated = write_submission(GREW, *data(), tmp_path / "again.csv", options=Options(max_bytes=1))
    assert [p.read_bytes() for p in repeated] == [csv.read_bytes(), zipped.read_bytes()]


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    features, ids, types, views = data()
    for names, message in (
        ((ids, ["04" if t == "03" else t for t in types], views), "0 probes"),
        ((ids, types, ["a" if v == "b" else v for v in views]), "two probes"),
        ((["0000x" if i == "00003" else i for i in ids], types, views), "'0000x' is not a number"),
        ((ids, types, ["a,b" if v == "b" else v for v in views]), "'a,b' contains a comma"),
    ):
        with pytest.raises(UserError, match=message):
            write_submission(GREW, features, *names, path)
    with pytest.raises(UserError, match="3 probes and 18 gallery sequences"):
        write_submission(GREW, *data(9), path)
    assert not list(tmp_path.iterdir())


def hid(names_in: str = "views") -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Three people of three sequences each, and five probes, their names in the views or in the types."""
    generator = np.random.default_rng(4)
    means = generator.normal(size=(3, 1, 4, 2)).repeat(3, 1).reshape(9, 4, 2)
    features = np.concatenate([means, means[[0, 8, 4, 1, 6]]]) + 0.8 * generator.normal(size=(14, 4, 2))
    ids = [f"{k:05d}" for k in (10, 2, 7) for _ in range(3)] + ["probe"] * 5
    names = [f"s{k}" for k in range(9)] + ["v3", "v1", "v5", "v2", "v4"]
    same = ["default"] * 14
    types, views = (same, names) if names_in == "views" else (names, same)
    return features.astype(np.float32), ids, types, views


@pytest.mark.parametrize("names_in", ["views", "types"])
def test_hid_labels_are_the_nearest_after_re_ranking(tmp_path: Path, names_in: str) -> None:
    features, ids, types, views = hid(names_in)
    names = (views if names_in == "views" else types)[9:]
    assert HID.re_rank == ReRank(6, 6, 0.3)
    csv, _ = write_submission(
        HID, features, ids, types, views, tmp_path / "tiny-00002-submission.csv", options=Options(re_rank=HID.re_rank)
    )
    order = [names.index(name) + 9 for name in sorted(names)] + list(range(9))
    vectors = [features[n].tolist() for n in order]
    distances = [[reference.distance(x, y, "euc") for y in vectors] for x in vectors]
    reranked = reference.reranked(distances, 5, 6, 6, 0.3)
    labels = [ids[row.index(min(row))] for row in reranked]
    rows = [f"{name},{label}\n" for name, label in zip(sorted(names), labels, strict=True)]
    assert csv.read_text() == "".join(["videoID,label\n", *rows])
    assert len(set(labels)) > 1
