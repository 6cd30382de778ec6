"""``flask wechat qrcode``: codes with a scene, their counts and their pictures."""

import time
from pathlib import Path

import click
from flask.cli import with_appcontext

from app import place
from app.api import create_qrcode, get_api, qrcodes
from app.cli import echo, plain_errors
from app.store.qrcodes import codes, find_living

_SCENE = click.argument("scene")
_INT = click.option("--int", "is_int", is_flag=True, help="SCENE is a scene_id, not a text.")
_EXPIRE = click.option("--expire", metavar="SECONDS", type=int, help="A temporary code, for 1 to 2592000 seconds.")


def group() -> click.Group:
    """Return the group ``qrcode``."""
    group = click.Group("qrcode", help="QR codes that say where a fan comes from.")
    for command in (create, list_codes, show, image):
        group.add_command(command)
    return group


@click.command()
@_SCENE
@_INT
@_EXPIRE
@with_appcontext
def create(scene: str, is_int: bool, expire: int | None) -> None:
    """Make the code for SCENE, or find it: a permanent one is asked for once."""
    with plain_errors():
        echo(_line(create_qrcode(_scene(scene, is_int), expire)))


@click.command("list")
@with_appcontext
def list_codes() -> None:
    """List the codes with the scans and follows of their scenes, the newest first."""
    with plain_errors():
        found = codes(get_api().settings.account)
    for row, scans, follows in found:
        echo(f"{_line(qrcodes.as_code(row))}  scans {scans}  follows {follows}")
    if not found:
        echo("there is no QR code yet", err=True)


@click.command()
@_SCENE
@_INT
@with_appcontext
def show(scene: str, is_int: bool) -> None:
    """Draw the code for SCENE in the terminal."""
    with plain_errors():
        echo(_found(scene, is_int).text())


@click.command()
@_SCENE
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_INT
@with_appcontext
def image(scene: str, file: Path, is_int: bool) -> None:
    """Draw the code for SCENE into FILE, a .png or a .svg."""
    draw = {".png": "png", ".svg": "svg"}.get(file.suffix.lower())
    with plain_errors():
        if draw is None:
            raise ValueError(f"FILE is {file}; expected a name that ends with .png or .svg")
        file.write_bytes(getattr(_found(scene, is_int), draw)())
    echo(f"wrote {file}")


def _scene(scene: str, is_int: bool) -> int | str:
    if not is_int:
        return scene
    try:
        return int(scene)
    except ValueError as error:
        raise ValueError(f"SCENE is {scene!r}; with --int expected a whole number") from error


def _found(scene: str, is_int: bool) -> qrcodes.QrCode:
    row = find_living(get_api().settings.account, "int" if is_int else "str", str(_scene(scene, is_int)))
    if row is None:
        raise ValueError(
            f"there is no code for {scene!r}; {place.command('wechat qrcode list')} shows all, create makes one"
        )
    return qrcodes.as_code(row)


def _line(code: qrcodes.QrCode) -> str:
    ends = time.strftime("until %Y-%m-%d %H:%M", time.localtime(code.ends_at)) if code.ends_at else "permanent"
    return f"{code.scene!r}  {ends}  {code.url}"
