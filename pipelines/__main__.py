"""`python -m pipelines …`, the same as `resnet-tf …`."""

import sys

from pipelines.cli import main

sys.exit(main())
