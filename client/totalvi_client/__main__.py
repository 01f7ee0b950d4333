"""`python -m totalvi_client` is `totalvi-client`."""

import sys

from totalvi_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
