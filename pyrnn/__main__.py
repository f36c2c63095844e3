"""`python -m pyrnn` is the command `pyrnn`: what torchrun starts."""

import sys

from pyrnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
