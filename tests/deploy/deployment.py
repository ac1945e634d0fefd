"""Where things are, and which overlays there are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ATTRIBUTION_BUILD", ROOT / "build")).resolve()
OVERLAYS = ("cpu", "gpu", "autoscale", "monitoring", "mtls")
