"""A developer's own package of handlers, as a wheel: ``mybot``, whose answers begin with its version."""

import base64
import hashlib
import zipfile
from pathlib import Path

_HANDLERS = """
{first}

def answer(message):
    return f"{version} {{message.content}}"

HANDLERS = {{"text": answer, "*": lambda message: None}}
"""


def bot(folder: Path, version: str, first: str = "") -> Path:
    """Write the wheel of ``mybot`` into ``folder``, with the line ``first`` in its module, and return its path."""
    info = f"mybot-{version}.dist-info"
    files = {
        "mybot/__init__.py": "",
        "mybot/handlers.py": _HANDLERS.format(version=version, first=first),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mybot\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"mybot-{version}-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path
