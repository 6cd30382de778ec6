"""The 13 vectors of signature and sealing that this code did not make."""

import json
from pathlib import Path
from typing import Any

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "samples" / "crypto_vectors.json").read_text()
)["vectors"]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [vector for vector in VECTORS if vector["kind"] in kinds]


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])
