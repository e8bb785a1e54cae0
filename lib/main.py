"""The runner: `python lib/main.py --cfgs configs/Dygait_SynGait.yaml --phase train`, alone or under a launcher."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from dygait.cli import runner

if __name__ == "__main__":
    sys.exit(runner())
