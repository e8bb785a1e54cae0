"""Raw datasets as their owners hand them out, tiny, and the archives that they come in."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

Files = dict[str, bytes]


def picture(number: int, shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Return a mask of 0 and 255 with somebody in it, another one for each number."""
    image = np.zeros(shape, np.uint8)
    rows, columns = shape
    left = (11 + 7 * number) % (columns * 2 // 3)
    image[rows // 8 + number % 5 : rows - rows // 10, left : left + columns // 6] = 255
    image[rows // 2 : rows // 2 + 6, left : left + columns // 4] = 255
    return image


def png(image: np.ndarray) -> bytes:
    done, content = cv2.imencode(".png", image)
    assert done
    return content.tobytes()


def frames_of(folder: str, names: str, count: int, shape: tuple[int, int] = (240, 320)) -> Files:
    """Return `count` pictures, by path; `names` has a place for the number."""
    start = sum(folder.encode())
    return {f"{folder}/{names.format(k)}": png(picture(start + k, shape)) for k in range(1, count + 1)}


def casia_b(ids: tuple[str, ...] = ("001", "002")) -> Files:
    files: Files = {}
    for person in ids:
        for kind in ("nm-01", "cl-02"):
            for view in ("000", "090"):
                files |= frames_of(f"{person}/{kind}/{view}", f"{person}-{kind}-{view}-{{:03d}}.png", 2)
    return files


def oumvlp() -> Files:
    files: Files = {}
    for view, walk in (("000", "00"), ("000", "01"), ("090", "00")):
        for person in ("00001", "00002"):
            files |= frames_of(f"Silhouette_{view}-{walk}/{person}", "{:04d}.png", 2)
    return files


def grew() -> Files:
    files: Files = {}
    for folder in (
        "train/00001/aB3xYz01", "train/00001/zz3xYz02", "train/00002/Qq3xYz03",
        "test/gallery/00001/t16VLaQf", "test/gallery/00001/79XJefi8", "test/probe/etaGVnWf",
    ):  # fmt: skip
        files |= frames_of(folder, "{:05d}.png", 2, (64, 64))
        files[f"{folder}/00001_2d_pose.json"] = b"{}"
        files[f"{folder}/{folder[-8:]}_gei.png"] = png(picture(0, (64, 64)))
    return files


def gait3d() -> Files:
    files: Files = {}
    for folder in ("0000/camid0_videoid2/seq0", "0000/camid3_videoid2/seq1", "3999/camid1_videoid3/seq0"):
        files |= {f"2D_Silhouettes/{k}": v for k, v in frames_of(folder, "human_crop_f{:d}.png", 11, (90, 60)).items()}
    files["2D_Parsings/0000/camid0_videoid2/seq0/human_crop_f1.png"] = png(picture(0))
    return files


def casia_a() -> Files:
    files: Files = {}
    for person in ("fyc", "nhz"):
        for walk in ("00_1", "45_2", "90_4"):
            files |= frames_of(f"{person}/{walk}", f"{person}-{walk}-{{:03d}}.png", 2, (240, 352))
    return files


EXPECTED = {
    "CASIA-B": {f"{i}/{t}/{v}" for i in ("001", "002") for t in ("nm-01", "cl-02") for v in ("000", "090")},
    "OUMVLP": {f"{i}/{s}" for i in ("00001", "00002") for s in ("00/000", "01/000", "00/090")},
    "GREW": {
        "00001train/00/aB3xYz01", "00001train/00/zz3xYz02", "00002train/00/Qq3xYz03",
        "00001/01/79XJefi8", "00001/02/t16VLaQf", "probe/03/etaGVnWf",
    },
    "Gait3D": {"0000/camid0_videoid2/seq0", "0000/camid3_videoid2/seq1", "3999/camid1_videoid3/seq0"},
    "CASIA-A": {f"{i}/{s}" for i in ("fyc", "nhz") for s in ("nm-01/00", "nm-02/45", "nm-04/90")},
}  # fmt: skip

RAW: dict[str, Callable[[], Files]] = {
    "CASIA-B": casia_b,
    "OUMVLP": oumvlp,
    "GREW": grew,
    "Gait3D": gait3d,
    "CASIA-A": casia_a,
}


def below(files: Files, folder: str) -> Files:
    """Return the files of one folder, named from there."""
    return {
        name.removeprefix(f"{folder}/"): content for name, content in files.items() if name.startswith(f"{folder}/")
    }


def lay(root: Path, files: Mapping[str, bytes]) -> Path:
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


_CRC = [0] * 256
for _n in range(256):
    _c = _n
    for _ in range(8):
        _c = (_c >> 1) ^ (0xEDB88320 if _c & 1 else 0)
    _CRC[_n] = _c


def _encrypted(content: bytes, password: bytes) -> bytes:
    """The traditional encryption of zips: three keys, stirred with every byte of the plain text."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def stir(byte: int) -> None:
        keys[0] = (keys[0] >> 8) ^ _CRC[(keys[0] ^ byte) & 255]
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = (keys[2] >> 8) ^ _CRC[(keys[2] ^ (keys[1] >> 24)) & 255]

    for byte in password:
        stir(byte)
    out = bytearray()
    for byte in content:
        k = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ ((k * (k ^ 1)) >> 8 & 255))
        stir(byte)
    return bytes(out)


def zipped(files: Mapping[str, bytes], password: str | None = None, attributes: int = 0) -> bytes:
    """Return a zip of stored files, encrypted if there is a password."""
    body, book = b"", b""
    for name, content in files.items():
        crc = zlib.crc32(content)
        data = content if password is None else _encrypted(bytes(11) + bytes([crc >> 24]) + content, password.encode())
        flags = 0 if password is None else 1
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, 0, 0, 33, crc, len(data), len(content), len(name.encode()), 0
        )  # fmt: skip
        book += b"PK\1\2" + struct.pack("<H", 0x0314) + common + struct.pack("<HHHII", 0, 0, 0, attributes, len(body))
        book += name.encode()
        body += b"PK\3\4" + common + name.encode() + data
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(book), len(body), 0)
    return body + book + end


def packed(folder: Path, dataset: str, password: str = "open sesame") -> list[Path]:
    """Write a dataset as its owners pack it; the archives."""
    files = RAW[dataset]()
    folder.mkdir(parents=True, exist_ok=True)
    archives: Files = {}
    if dataset == "CASIA-B":
        ids = sorted({name[:3] for name in files})
        inner = {f"GaitDatasetB-silh/{i}.tar.gz": tar({k: v for k, v in files.items() if k[:3] == i}) for i in ids}
        archives["GaitDatasetB-silh.zip"] = zipped(inner)
    elif dataset == "OUMVLP":
        for part in sorted({name.split("/")[0] for name in files}):
            own = {k: v for k, v in files.items() if k.startswith(part)}
            archives[f"{part}.zip"] = zipped(own, password)
    elif dataset == "GREW":
        for part, folders in (("train", ["train"]), ("test", ["test/gallery", "test/probe"])):
            inner = {}
            for inner_folder in folders:
                for name in sorted({n.split("/")[0] for n in below(files, inner_folder)}):
                    own = {f"{name}/{k}": v for k, v in below(files, f"{inner_folder}/{name}").items()}
                    inner[f"{inner_folder}/{name}.tgz"] = tar(own)
            archives[f"{part}.zip"] = zipped({f"{part}.tgz": tar(inner)}, password)
    elif dataset == "Gait3D":
        archives["Gait3D.tar.gz"] = tar(files)
    else:
        archives["GaitDatasetA-silh.zip"] = zipped(files)
    lay(folder, archives)
    return [folder / name for name in archives]
