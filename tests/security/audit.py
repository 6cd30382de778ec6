"""make audit: does a package of requirements.txt have a known vulnerability? pip-audit asks the advisories.

pip-audit says "No known vulnerabilities found" also where nobody could be asked: a mirror of PyPI has the packages and
no advisories. Here it is said how many packages were looked up. Status 1 for a vulnerability, 0 where none is known.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers import ROOT, program

# Of one answer; offline, names are not found at once, and the first time-out ends it.
_TIMEOUT_SECONDS = 5
_UNREACHABLE = ("ConnectionError", "Timeout", "ServiceError", "Could not connect", "not redirecting")


def main(requirements: Path, options: Sequence[str] = ()) -> int:
    """Print what pip-audit finds in ``requirements``, with more ``options`` for it, and return the exit status."""
    command = [program("pip-audit"), "--requirement", str(requirements), "--disable-pip", "--no-deps"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(_TIMEOUT_SECONDS), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        if not any(word in done.stderr for word in _UNREACHABLE):
            print(f"pip-audit failed: {done.stderr.strip()[-2000:]}")
            return 1
        print(f"NOT AUDITED: the advisories cannot be reached from here. {done.stderr.strip().splitlines()[-1][:300]}")
        return 0
    lines, is_bad = report(json.loads(done.stdout)["dependencies"])
    print("\n".join(lines))
    return int(is_bad)


def report(packages: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Return what to say of pip-audit's ``packages``, and whether one of them has a vulnerability."""
    lines = []
    for package in packages:
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            lines.append(f"{package['name']} {package['version']}: {found['id']}; fixed in: {fixed}")
    is_bad = bool(lines)
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    audited = len(packages) - len(skipped)
    if not audited:
        lines.append(f"NOT AUDITED: none of {len(packages)} packages is known where the advisories are asked for")
    elif skipped:
        lines.append(f"not audited: {', '.join(skipped)}")
    if audited:
        lines.append(f"{audited} of {len(packages)} packages audited")
    return lines, is_bad


if __name__ == "__main__":
    sys.exit(main(ROOT / "requirements.txt", sys.argv[1:]))
