"""Packaging: `pip install .` and `pip install -e .`; tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """Put the shipped configurations into the package, where an installed one looks for them."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "dygait" / "configs"
        target.mkdir(parents=True, exist_ok=True)
        for source in sorted((HERE / "configs").glob("*.yaml")):
            self.copy_file(str(source), str(target / source.name))


version = re.search(r'__version__ = "(.+?)"', (HERE / "lib/dygait/__init__.py").read_text(encoding="utf-8"))
assert version
lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()

setup(
    name="dygait",
    version=version[1],
    description="Gait recognition from silhouette sequences: the DyGait model in a framework for research",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"dygait.reporting": ["templates/*"]},
    install_requires=[line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()],
    entry_points={"console_scripts": ["dygait = dygait.cli:main"]},
    cmdclass={"build_py": BuildWithConfigs},
)
