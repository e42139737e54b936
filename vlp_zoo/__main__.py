"""Entry point of ``python -m vlp_zoo``; Lightning relaunches DDP ranks through it."""

import sys

from vlp_zoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
