"""`python -m dygait`: the console script, where it is not installed."""

import sys

from dygait.cli import main

if __name__ == "__main__":
    sys.exit(main())
