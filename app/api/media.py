"""Temporary media (临时素材): uploaded once, and uploaded again shortly before WeChat forgets them."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wechatpy.client import WeChatClient

from app.api.kept import Kept
from app.cache import Cache, to_json

_KEEP_SECONDS = 3 * 86400
_MARGIN_SECONDS = 3600
_BEGINNING_BYTES = 64
# Longer than an upload of 10 MB takes, with its repetitions.
_UPLOAD_SECONDS = 120


class _Type(NamedTuple):
    most_bytes: int
    expected: str
    formats: tuple[str, ...]


# https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/New_temporary_materials.html
_TYPES = {
    "image": _Type(10 << 20, "a PNG, JPEG, GIF or BMP of at most 10 MB", ("png", "jpg", "gif", "bmp")),
    "voice": _Type(2 << 20, "an AMR or MP3 of at most 2 MB and 60 seconds", ("amr", "mp3")),
    "video": _Type(10 << 20, "an MP4 of at most 10 MB", ("mp4",)),
    "thumb": _Type(64 << 10, "a JPEG of at most 64 KB", ("jpg",)),
}
# Photos, recordings and QuickTime, which begin as an MP4 does.
_NOT_VIDEO = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"M4A ", b"M4B ", b"qt  ")


def upload(client: WeChatClient, cache: Cache, path: str | Path, media_type: str | None = None) -> str:
    """Return the media_id of the file at ``path``: image, voice, video or thumb, by default what its content is.

    The same content is uploaded once in 3 days, less an hour. Raises ValueError for a file that WeChat would refuse,
    OSError for one that cannot be read, and ApiError.
    """
    path = Path(path).absolute()
    content = path.read_bytes()
    media_type, file_format = _checked(path, content, media_type)
    return _kept(client, cache, path, content, media_type, file_format).get()


def with_new_ids(client: WeChatClient, cache: Cache, data: Any) -> Any:
    """Return ``data`` of a call that WeChat refused with 40007, with files uploaded anew in place of those kept here.

    None where it names none of them, or their files are not there any more as they were. Raises ApiError.
    """
    new = {old: _uploaded_anew(client, cache, old) for old in dict.fromkeys(_media_ids(data))}
    known = {old: one for old, one in new.items() if one}
    return _replaced(data, known) if known else None


def named(file: Any) -> Any:
    """Return an upload with a name that WeChat takes, of ASCII and with an ending, which the content tells.

    ``file`` is what requests takes: bytes, a file, or a tuple that begins with its name.
    """
    name, content, *label = file if isinstance(file, tuple) else (getattr(file, "name", ""), file)
    name = Path(name).name if isinstance(name, str) else ""
    if not (name.isascii() and Path(name).suffix):
        ending = _format(_beginning(content)) or Path(name).suffix.lstrip(".")
        name = f"media.{ending}" if ending.isascii() and ending else "media"
    return (name, content, *label)


def _beginning(content: Any) -> bytes:
    if not hasattr(content, "read"):
        return bytes(content) if isinstance(content, bytes | bytearray) else b""
    at = content.tell()
    begins = content.read(_BEGINNING_BYTES)
    content.seek(at)
    return begins if isinstance(begins, bytes) else b""


def _uploaded_anew(client: WeChatClient, cache: Cache, old: str) -> str | None:
    kept = cache.get(cache.key("media", old))
    if not kept:
        return None
    name, media_type, digest = json.loads(kept)
    try:
        content = Path(name).read_bytes()
    except OSError:  # on another machine, or gone
        return None
    if _digest(content) != digest:
        return None
    return _kept(client, cache, Path(name), content, media_type, _format(content)).replace(old)


def _kept(client: WeChatClient, cache: Cache, path: Path, content: bytes, media_type: str, file_format: str) -> Kept:
    digest = _digest(content)

    def fetch(force: bool) -> tuple[str, float]:
        name = f"{digest}.{file_format}"  # WeChat looks at the name's end, and takes no Chinese in it
        answer = client.media.upload(media_type, (name, content))
        made = int(answer.get("created_at") or time.time())
        media_id = str(answer.get("media_id") or answer["thumb_media_id"])
        cache.set(cache.key("media", media_id), to_json([str(path), media_type, digest]), _KEEP_SECONDS)
        return media_id, made + _KEEP_SECONDS - _MARGIN_SECONDS - time.time()

    return Kept(cache, f"media:{media_type}:{digest}", fetch, _UPLOAD_SECONDS)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _media_ids(data: Any) -> Iterator[str]:
    """Yield what fields such as media_id and thumb_media_id hold, however deep."""
    for name, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, str) and name.endswith("media_id"):
            yield value
        yield from _media_ids(value)
    for one in data if isinstance(data, list | tuple) else ():
        yield from _media_ids(one)


def _replaced(data: Any, new: dict[str, str]) -> Any:
    if isinstance(data, dict):
        return {name: _replaced(value, new) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_replaced(one, new) for one in data]
    return new.get(data, data) if isinstance(data, str) else data


def _checked(path: Path, content: bytes, media_type: str | None) -> tuple[str, str]:
    file_format = _format(content)
    if media_type not in (None, *_TYPES):
        raise ValueError(f"media_type is {media_type!r}; expected one of {', '.join(_TYPES)}, or None")
    if media_type is None:
        media_type = next((name for name, kind in _TYPES.items() if file_format in kind.formats), None)
    if media_type is None:
        known = "; ".join(f"{name}: {kind.expected}" for name, kind in _TYPES.items())
        raise ValueError(f"{path} is nothing that WeChat takes; expected one of {known}")
    kind = _TYPES[media_type]
    if file_format not in kind.formats or len(content) > kind.most_bytes:
        raise ValueError(
            f"{path} is {file_format or 'of an unknown format'}, {len(content)} bytes; expected {kind.expected}"
        )
    return media_type, file_format


def _format(content: bytes) -> str:
    """Return what the content is, whatever the file's name says; "" for what WeChat does not take."""
    begins = {
        b"\x89PNG\r\n\x1a\n": "png",
        b"\xff\xd8\xff": "jpg",
        b"GIF8": "gif",
        b"BM": "bmp",
        b"#!AMR": "amr",
        b"ID3": "mp3",
    }
    for beginning, name in begins.items():
        if content.startswith(beginning):
            return name
    if content[4:8] == b"ftyp":
        return "" if content[8:12] in _NOT_VIDEO else "mp4"
    is_mpeg_frame = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2  # layer III
    return "mp3" if is_mpeg_frame else ""
