import pytest

from dygait.preprocess.layouts import LAYOUTS
from dygait.preprocess.rules import SequenceName, natural_key
from helpers import raw

PATHS = {
    "CASIA-B": [
        ("CASIA-B/001/nm-01/090/001-nm-01-090-001.png", "001/nm-01/090"),
        ("GaitDatasetB-silh.zip/GaitDatasetB-silh/001.tar.gz/001/bg-02/180/001-bg-02-180-010.png", "001/bg-02/180"),
        ("flat/124-cl-01-018-003.PNG", "124/cl-01/018"),
        ("124/cl-01/018/7.png", "124/cl-01/018"),
        ("CASIA-B/001/nm-01/090/notes.txt", None),
        ("CASIA-B/1/nm-01/090/a.png", None),
    ],
    "OUMVLP": [
        ("OUMVLP/Silhouette_000-00/00001/0001.png", "00001/00/000"),
        ("Silhouette_270-01.zip/Silhouette_270-01/10307/0001.png", "10307/01/270"),
        ("Silhouette_270-01.zip/10307/0001.png", "10307/01/270"),
        ("00001/00/000/0001.png", None),
    ],
    "GREW": [
        ("train.zip/train.tgz/train/00001.tgz/00001/4XPn5Z28/00001.png", "00001train/00/4XPn5Z28"),
        ("train.tgz/00001.tgz/4XPn5Z28/00001.png", "00001train/00/4XPn5Z28"),
        ("train/00001/4XPn5Z28/00001.png", "00001train/00/4XPn5Z28"),
        ("test.zip/test.tgz/test/gallery/06000.tgz/06000/79XJefi8/1.png", "06000/01/79XJefi8"),
        ("gallery/06000/79XJefi8/1.png", "06000/01/79XJefi8"),
        ("test/probe/etaGVnWf/1.png", "probe/03/etaGVnWf"),
        ("test.tgz/probe/etaGVnWf.tgz/etaGVnWf/1.png", "probe/03/etaGVnWf"),
        ("train/00001/4XPn5Z28/4XPn5Z28_gei.png", None),
    ],
    "Gait3D": [
        ("Gait3D/2D_Silhouettes/0000/camid0_videoid2/seq0/human_crop_f1.png", "0000/camid0_videoid2/seq0"),
        ("2D_Silhouettes.zip/0000/camid0_videoid2/seq0/human_crop_f1.png", "0000/camid0_videoid2/seq0"),
    ],
    "CASIA-A": [
        ("GaitDatasetA-silh/silhouettes/fyc/00_1/fyc-00_1-001.png", "fyc/nm-01/00"),
        ("nhz/45_4/nhz-45_4-001.png", "nhz/nm-04/45"),
    ],
    "CCPG": [
        ("CCPG/CCPG_G_SIL/000/U0_D0_BG/06_1/0001.png", "000/U0_D0_BG/06_1"),
        ("CCPG_G_SIL.zip/199/U3_D3/00_0/1.png", "199/U3_D3/00_0"),
        ("CCPG_G_SIL/000/else/00_0/1.png", None),
    ],
    "SUSTech1K": [
        ("SUSTech1K-Released-pkl/0000/00-nm/000/06-000-Camera-Sils_aligned.pkl", "0000/00-nm/000"),
        (
            "SUSTech1K-pkl.zip/0000.tar.gz/0000/01-cr-ub/090-far/06-090-far-Camera-Sils_aligned.pkl",
            "0000/01-cr-ub/090-far",
        ),
        ("SUSTech1K-Released-2023/0000/00-nm/000/Sils_aligned/1.png", "0000/00-nm/000"),
        ("0000/00-nm/000/14-sync-000-Camera-Sils_aligned.pkl", None),
        ("0000/00-nm/000/PCDs_depths/1.png", None),
    ],
    "CCGR-Mini": [
        ("CCGR_MINI_SIL_PAR_POSE/CCGR-MINI/1/DTBXHVCL1/67_5_2.avi/67_5_2.avisil-1.pkl", "1/DTBXHVCL1/67_5_2.avi"),
        ("1000/NM2/over.avi/002-oversil-1.pkl", "1000/NM2/over.avi"),
        ("1/NM1/90_3.avi/90_3.avipar-1.pkl", None),
    ],
    "FreeGait": [
        ("FreeGait/0001/devid_3/seq_00_new/image/image.pkl", "0001/devid_3/seq_00_new"),
        ("0001/devid0/seq_04/image.pkl", "0001/devid0/seq_04"),
        ("0001/devid0/seq_04/lidar/lidar.pkl", None),
    ],
    "folders": [
        ("masks/anna/day1/cam1/001.png", "anna/day1/cam1"),
        ("masks/anna/day1/cam1/frame 7.JPEG", "anna/day1/cam1"),
        ("masks/anna/day1/001.tiff", "anna/day1/any"),
        ("masks.zip/anna.zip/day 1/cam.1/1.bmp", "anna/day 1/cam.1"),
        ("masks/anna/001.png", None),
        ("masks/a/b/c/d/001.png", None),
    ],
}


@pytest.mark.parametrize(
    ("dataset", "path", "name"), [(dataset, *path) for dataset, paths in PATHS.items() for path in paths]
)
def test_paths(dataset: str, path: str, name: str | None) -> None:
    sequences, unmatched = LAYOUTS[dataset].arrange([path])
    assert [str(key) for key in sequences] == ([] if name is None else [name])
    assert unmatched == ([path] if name is None else [])
    assert (LAYOUTS[dataset].group(path) is None) == (name is None)


@pytest.mark.parametrize("dataset", raw.SEQUENCES)
def test_datasets_and_examples(dataset: str) -> None:
    layout = LAYOUTS[dataset]
    paths = [path for path in raw.files_of(dataset) if path.endswith(".png") and not layout.ignores(path)]
    sequences, unmatched = layout.arrange(reversed(paths))
    assert {str(key) for key in sequences} == set(raw.SEQUENCES[dataset])
    assert not unmatched
    assert all(names == sorted(names, key=natural_key) for names in sequences.values())
    assert layout.group(layout.example)


def test_is_picture() -> None:
    for name, casia_b, folders in (
        ("a.png", True, True),
        ("A.PNG", True, True),
        ("a.jpg", False, True),
        ("a.txt", False, False),
    ):
        assert LAYOUTS["CASIA-B"].is_picture(name) == casia_b
        assert LAYOUTS["folders"].is_picture(name) == folders


def test_frames_are_sorted_by_number() -> None:
    folder = "2D_Silhouettes/0000/camid0_videoid2/seq0/human_crop_f"
    (names,) = LAYOUTS["Gait3D"].arrange([f"{folder}{k}.png" for k in (10001, 9999, 10000)])[0].values()
    assert [name.removeprefix(folder) for name in names] == ["9999.png", "10000.png", "10001.png"]


def test_gallery_sequences_of_grew_are_numbered_per_id() -> None:
    paths = [f"test/gallery/{i}/{s}/1.png" for i, s in (("00002", "b"), ("00002", "a"), ("00001", "c"))]
    sequences, _ = LAYOUTS["GREW"].arrange(paths)
    assert list(sequences) == [
        SequenceName("00001", "01", "c"),
        SequenceName("00002", "01", "a"),
        SequenceName("00002", "02", "b"),
    ]


@pytest.mark.parametrize(
    ("dataset", "path"),
    [
        ("GREW", "GREW/distractor.zip"),
        ("GREW", "GREW/distractor/1/a.png"),
        ("GREW", "train/00001/x/x_gei.png"),
        ("Gait3D", "Gait3D/2D_Parsings/0000/a/b/1.png"),
        ("Gait3D", "Gait3D/3D_SMPLs.zip"),
        ("CASIA-B", "in/__MACOSX/001.tar.gz"),
        ("CASIA-B", "in/001/._x.png"),
    ],
)
def test_ignored_paths(dataset: str, path: str) -> None:
    assert LAYOUTS[dataset].ignores(path)
