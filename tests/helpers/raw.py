"""Tiny raw datasets in the layouts of their owners, and the archives that those distribute."""

import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

Files = dict[str, bytes]


def picture(number: int, shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Return a mask of 0 and 255 with a foreground that depends on `number`."""
    image = np.zeros(shape, np.uint8)
    rows, columns = shape
    left = (11 + 7 * number) % (columns * 2 // 3)
    image[rows // 8 + number % 5 : rows - rows // 10, left : left + columns // 6] = 255
    image[rows // 2 : rows // 2 + 6, left : left + columns // 4] = 255
    return image


def png(image: np.ndarray) -> bytes:
    succeeded, content = cv2.imencode(".png", image)
    assert succeeded
    return content.tobytes()


def _casia_b(ids: Iterable[str]) -> dict[str, str]:
    return {f"{i}/{t}/{v}": f"{i}/{t}/{v}" for i in ids for t in ("nm-01", "cl-02") for v in ("000", "090")}


SEQUENCES: dict[str, dict[str, str]] = {
    "CASIA-B": _casia_b(("001", "002")),
    "OUMVLP": {
        f"{i}/{walk}/{view}": f"Silhouette_{view}-{walk}/{i}"
        for view, walk in (("000", "00"), ("000", "01"), ("090", "00"))
        for i in ("00001", "00002")
    },
    "GREW": {
        "00001train/00/aB3xYz01": "train/00001/aB3xYz01",
        "00001train/00/zz3xYz02": "train/00001/zz3xYz02",
        "00002train/00/Qq3xYz03": "train/00002/Qq3xYz03",
        "00001/02/t16VLaQf": "test/gallery/00001/t16VLaQf",
        "00001/01/79XJefi8": "test/gallery/00001/79XJefi8",
        "probe/03/etaGVnWf": "test/probe/etaGVnWf",
    },
    "Gait3D": {
        name: f"2D_Silhouettes/{name}"
        for name in ("0000/camid0_videoid2/seq0", "0000/camid3_videoid2/seq1", "3999/camid1_videoid3/seq0")
    },
    "CCPG": {name: f"CCPG_G_SIL/{name}" for name in ("000/U0_D0_BG/06_1", "000/U3_D3/00_0", "101/U1_D0/00_0")},
    "CASIA-A": {
        f"{i}/nm-0{walk}/{view}": f"{i}/{view}_{walk}"
        for i in ("fyc", "nhz")
        for view, walk in (("00", "1"), ("45", "2"), ("90", "4"))
    },
}
"""For each dataset, the folder of each sequence by the name of the sequence."""

_FORMS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "CASIA-B": ("{0}-{1}-{2}-{n:03d}.png", 2, (240, 320)),
    "OUMVLP": ("{n:04d}.png", 2, (240, 320)),
    "GREW": ("{n:05d}.png", 2, (64, 64)),
    "Gait3D": ("human_crop_f{n:d}.png", 11, (90, 60)),
    "CCPG": ("{n:04d}.png", 3, (120, 70)),
    "CASIA-A": ("{0}-{1}-{n:03d}.png", 2, (240, 352)),
}
"""For each dataset, the pattern of the names of a folder's pictures, their number and their size."""


def pictures(dataset: str, folder: str) -> list[np.ndarray]:
    """Return the pictures of a sequence, in order."""
    _, count, shape = _FORMS[dataset]
    return [picture(sum(folder.encode()) + number, shape) for number in range(1, count + 1)]


def files_of(dataset: str, folders: Iterable[str] | None = None) -> Files:
    """Return the files of a dataset, by path."""
    files: Files = {}
    for folder in folders or SEQUENCES[dataset].values():
        for number, image in enumerate(pictures(dataset, folder), 1):
            files[f"{folder}/{_FORMS[dataset][0].format(*folder.split('/'), n=number)}"] = png(image)
        if dataset == "GREW":
            files[f"{folder}/00001_2d_pose.json"] = b"{}"
            files[f"{folder}/{folder[-8:]}_gei.png"] = png(picture(0, (64, 64)))
    if dataset == "Gait3D":
        files["2D_Parsings/0000/camid0_videoid2/seq0/human_crop_f1.png"] = png(picture(0))
    return files


def casia_b(ids: Iterable[str] = ("001", "002")) -> Files:
    return files_of("CASIA-B", _casia_b(ids))


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tar(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _encrypted(content: bytes, password: bytes) -> bytes:
    """Encrypt by the traditional encryption of zip files: three keys, updated with every byte of the plain text."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc(key: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), key ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def update(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in content:
        k = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ ((k * (k ^ 1)) >> 8 & 255))
        update(byte)
    return bytes(out)


def zipped(files: Mapping[str, bytes], password: str | None = None, attributes: int = 0) -> bytes:
    """Return a zip of stored files, encrypted if there is a password."""
    body, directory = b"", b""
    for name, content in files.items():
        crc = zlib.crc32(content)
        data = content if password is None else _encrypted(bytes(11) + bytes([crc >> 24]) + content, password.encode())
        flags = 0 if password is None else 1
        common = struct.pack("<HHHHHIIIHH", 20, flags, 0, 0, 33, crc, len(data), len(content), len(name.encode()), 0)
        directory += (
            b"PK\1\2" + struct.pack("<H", 0x0314) + common + struct.pack("<HHHII", 0, 0, 0, attributes, len(body))
        )
        directory += name.encode()
        body += b"PK\3\4" + common + name.encode() + data
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return body + directory + end


def packed(folder: Path, dataset: str, password: str = "open sesame") -> list[Path]:
    """Write a dataset as the archives in which its owners distribute it, and return their paths."""
    files = files_of(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    archives: Files = {}
    if dataset == "CASIA-B":
        ids = sorted({name[:3] for name in files})
        inner = {f"GaitDatasetB-silh/{i}.tar.gz": tar({k: v for k, v in files.items() if k[:3] == i}) for i in ids}
        archives["GaitDatasetB-silh.zip"] = zipped(inner)
    elif dataset == "OUMVLP":
        for part in sorted({name.split("/")[0] for name in files}):
            archives[f"{part}.zip"] = zipped({k: v for k, v in files.items() if k.startswith(part)}, password)
    elif dataset == "GREW":
        for part, folders in (("train", ["train"]), ("test", ["test/gallery", "test/probe"])):
            inner = {}
            for parent in folders:
                below_parent = {
                    name.removeprefix(f"{parent}/"): v for name, v in files.items() if name.startswith(f"{parent}/")
                }
                for i in sorted({name.split("/")[0] for name in below_parent}):
                    inner[f"{parent}/{i}.tgz"] = tar({k: v for k, v in below_parent.items() if k.startswith(f"{i}/")})
            archives[f"{part}.zip"] = zipped({f"{part}.tgz": tar(inner)}, password)
    elif dataset == "Gait3D":
        archives["Gait3D.tar.gz"] = tar(files)
    else:
        archives["GaitDatasetA-silh.zip"] = zipped(files)
    write(folder, archives)
    return [folder / name for name in archives]
