from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation import write_grew_submission

HEADER = (
    "videoId,rank1,rank2,rank3,rank4,rank5,rank6,rank7,rank8,rank9,rank10,"
    "rank11,rank12,rank13,rank14,rank15,rank16,rank17,rank18,rank19,rank20\n"
)


def data(subjects: int = 12) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Subject k at k and at k + 0.25 on a line; probes of the names b, a, c at 0, 20 and 3.125."""
    rows = [(f"{k:05d}", f"{1 + s:02d}", f"v{k}{s}", k + 0.25 * s) for k in range(1, subjects + 1) for s in range(2)]
    rows += [("probe", "03", "b", 0.0), ("probe", "03", "a", 20.0), ("probe", "03", "c", 3.125)]
    rows += [("00001train", "00", "t", 0.0)]
    ids, types, views, at = (list(column) for column in zip(*rows, strict=True))
    return np.array(at, np.float32)[:, None, None], ids, types, views


def test_exact_bytes(tmp_path: Path) -> None:
    csv, packed = write_grew_submission(*data(), tmp_path / "new" / "submission.csv")
    upwards = [k for k in range(1, 11) for _ in range(2)]
    downwards = [k for k in range(12, 2, -1) for _ in range(2)]
    # 3.0 and 3.25 are equally far from 3.125, and so are 2.0 and 4.25, 2.25 and 4.0: the gallery's order decides.
    around = [3, 3, 2, 4, 2, 4, 1, 5, 1, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10]
    rows = [("a", downwards), ("b", upwards), ("c", around)]
    expected = HEADER + "".join(f"{name},{','.join(map(str, listed))}\n" for name, listed in rows)
    assert csv.read_bytes() == expected.encode()
    assert csv == tmp_path / "new" / "submission.csv"
    assert packed == tmp_path / "new" / "submission.zip"
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == ["submission.csv"]
        assert archive.read("submission.csv") == expected.encode()
    assert sorted(p.name for p in csv.parent.iterdir()) == ["submission.csv", "submission.zip"]


def test_the_same_features_give_the_same_bytes(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in write_grew_submission(*data(), tmp_path / "submission.csv")]
    again = [p.read_bytes() for p in write_grew_submission(*data(), tmp_path / "submission.csv", max_bytes=1)]
    assert first == again


def test_user_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    with pytest.raises(UserError, match="3 probes and 18 gallery sequences in the data; it takes at least 1 and 20"):
        write_grew_submission(*data(9), path)
    features, ids, types, views = data()
    with pytest.raises(UserError, match="0 probes"):
        write_grew_submission(features, ids, ["04" if t == "03" else t for t in types], views, path)
    with pytest.raises(UserError, match="two probes are called 'a'"):
        write_grew_submission(features, ids, types, ["a" if v == "b" else v for v in views], path)
    with pytest.raises(UserError, match="'0000x' is not a number"):
        write_grew_submission(features, ["0000x" if i == "00003" else i for i in ids], types, views, path)
    assert not list(tmp_path.iterdir())
