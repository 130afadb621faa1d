"""`python -I -S -B FOLDER`: makes a package of this folder, wherever it was put, and runs it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
__import__(f"{HERE.name}.main")
sys.exit(sys.modules[f"{HERE.name}.main"].main(sys.argv[1:]))
