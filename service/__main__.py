"""`python -m service`: the same as `totalvi-serve`."""

import sys

from service.cli import main

sys.exit(main())
