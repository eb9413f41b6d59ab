"""What the commands of billing, and billing itself, import before they do anything."""

from __future__ import annotations

import subprocess
import sys


def test_pyarrow_is_not_imported_before_parquet_is_read_or_written() -> None:
    check = (
        "import sys, services.billing.cli, services.billing.app; sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
