import io
import tarfile
from pathlib import Path

import pytest

from dygait.errors import UserError
from dygait.preprocess.archives import DamagedError, InputFile, list_files, members, read
from helpers import raw

FILES = {"b/2.png": b"two" * 500, "b/10.png": b"ten", "a/1.png": b"one", "a/notes.txt": b"-"}


def write_archive(folder: Path, name: str, content: bytes) -> InputFile:
    raw.write(folder, {name: content})
    (file,) = list_files(folder / name)
    return file


def read_all(archive: InputFile, password: str | None = None) -> dict[str, bytes]:
    return {file.name: read(file, 10**6, password) for file in members(archive, password, lambda name: True)}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars(mode: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "x.tar.gz", raw.tar(FILES, mode))
    assert read_all(archive) == {f"x.tar.gz/{name}": content for name, content in FILES.items()}
    archive = InputFile("x.tgz", 1, content=raw.tar(FILES, mode))
    assert list(read_all(archive).values()) == list(FILES.values())


@pytest.mark.parametrize("password", [None, "it is a secret"])
def test_zips_in_order_of_names(password: str | None, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "x.zip", raw.zipped(FILES, password))
    files = read_all(archive, password)
    assert list(files) == ["x.zip/a/1.png", "x.zip/a/notes.txt", "x.zip/b/2.png", "x.zip/b/10.png"]
    assert files == {f"x.zip/{name}": content for name, content in FILES.items()}
    assert read_all(InputFile("x.zip", 1, content=raw.zipped(FILES, password)), password) == files


def test_every_wrong_password_is_rejected() -> None:
    """The check of the ZIP format accepts one wrong password in 256."""
    archive = InputFile("x.zip", 1, content=raw.zipped({"a": b"something " * 9}, "right"))
    for guess in (None, "", *(f"guess {number}" for number in range(300))):
        with pytest.raises(UserError, match=r"x\.zip.*DYGAIT_PASSWORD") as raised:
            read_all(archive, guess)
        assert not guess or guess not in str(raised.value)


def damaged() -> list[tuple[str, bytes]]:
    compressed, uncompressed = raw.tar(FILES), raw.tar(FILES, "w")
    cases = [(f"x{size}.tgz", compressed[:size]) for size in range(0, len(compressed), 27)]
    cases += [(f"y{size}.tar", uncompressed[:size]) for size in range(0, 4096, 512)]
    cases += [("z.tar", b"not a tar at all" * 100), ("z.zip", b"PK not a zip"), ("empty.zip", b"")]
    return [*cases, ("crc.tgz", compressed[:-8] + bytes(8))]


@pytest.mark.parametrize(("name", "content"), damaged(), ids=lambda value: value if isinstance(value, str) else "")
def test_truncated_and_damaged(name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=f"{name}.*download it again"):
        read_all(write_archive(tmp_path, name, content))


def tar_of(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a/x.png")
        info.type = kind
        info.linkname = "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.zip", raw.zipped({"a": b"/etc/passwd"}, attributes=0o120777 << 16)),
        *(("x.tar", tar_of(kind)) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)),
    ],
)
def test_links_and_devices(name: str, content: bytes) -> None:
    with pytest.raises(UserError, match="a link or a device"):
        read_all(InputFile(name, 1, content=content))


def test_unsupported_archives(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpack it"):
        write_archive(tmp_path, "x.7z", b"7z")
    with pytest.raises(UserError, match="unpack it"):
        read_all(InputFile("x.zip", 1, content=raw.zipped({"a.7z": b"-"})))


def test_a_cyclic_folder(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(UserError, match="cyclic"):
        list(list_files(tmp_path))
