"""``flask wechat message`` and ``inbox``: customer-service messages to a fan, and what a fan of the sandbox got."""

import click
from flask.cli import with_appcontext

from app.api import image, send, voice
from app.cli import echo, plain_errors
from app.config import Settings
from app.sandbox.api import STATE_FILE
from app.sandbox.login import OPENID
from app.sandbox.wechat import WeChat


def commands(settings: Settings) -> list[click.Command]:
    """Return ``message``, and ``inbox`` where WeChat is played locally."""

    @click.command()
    @click.option("--as", "openid", metavar="OPENID", default=OPENID, show_default=True, help="The fan's openid.")
    def inbox(openid: str) -> None:
        """Print the customer-service messages that a fan of the sandbox got."""
        for message in WeChat(settings.appid, settings.appsecret, STATE_FILE).messages:
            if message["touser"] == openid:
                content = message[message["msgtype"]]
                echo(content["content"] if message["msgtype"] == "text" else f"[{message['msgtype']}] {content}")

    return [message, inbox] if settings.sandbox else [message]


@click.command()
@click.argument("openid")
@click.argument("text", required=False)
@click.option("--image", "picture", type=click.Path(), help="Send a picture.")
@click.option("--voice", "recording", type=click.Path(), help="Send a recording.")
@with_appcontext
def message(openid: str, text: str | None, picture: str | None, recording: str | None) -> None:
    """Send the fan OPENID a customer-service message."""
    given = [part for part in (text, picture, recording) if part]
    with plain_errors():
        if len(given) != 1:
            raise ValueError("expected one of TEXT, --image FILE and --voice FILE")
        sent = send(openid, image(picture) if picture else voice(recording) if recording else text)
    echo(f"sent {sent} message{'' if sent == 1 else 's'}")
