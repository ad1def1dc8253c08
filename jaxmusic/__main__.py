"""`python -m jaxmusic`: the command `jaxmusic`."""

import sys

from jaxmusic.cli import main

if __name__ == "__main__":
    sys.exit(main())
