"""What pyproject.toml cannot say of the package: the shipped configurations travel with it."""

from pathlib import Path

from setuptools import setup
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


setup(cmdclass={"build_py": BuildWithConfigs})
