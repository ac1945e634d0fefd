"""Runs attribution-export: `python -m attention_attribution.export`."""

import sys

from .command import main

sys.exit(main())
