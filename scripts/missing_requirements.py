"""Print the requirements, of the files named, that this environment does not meet, one a line."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# pip's own copy: packaging itself may be one of what is missing.
from pip._vendor.packaging.requirements import Requirement


def missing(path: Path) -> list[str]:
    """Return the unmet requirements of a file in the plain form: one a line, comments after `#`."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            met = wanted.specifier.contains(version(wanted.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            found.append(text)
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for requirement in missing(Path(name)):
            print(requirement)
