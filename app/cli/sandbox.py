"""``flask wechat sandbox``: what WeChat, played locally, was asked, and faults that it plays."""

import json
import time

import click

from app.cli import echo
from app.config import Settings
from app.sandbox.api import STATE_FILE
from app.sandbox.endpoints import ENDPOINTS
from app.sandbox.wechat import WeChat


def group(settings: Settings) -> click.Group:
    """Return the group ``sandbox``."""

    @click.group("sandbox")
    @click.pass_context
    def group(context: click.Context) -> None:
        """WeChat's API, played locally: what it was asked, and faults at will."""
        context.obj = WeChat(settings.appid, settings.appsecret, STATE_FILE)

    for command in (calls, fail, heal, revoke_token, expire_token, close_window):
        group.add_command(command)
    return group


@click.command()
@click.pass_obj
def calls(wechat: WeChat) -> None:
    """List the calls so far, without token and secret."""
    for call in wechat.calls:
        when = time.strftime("%H:%M:%S", time.localtime(call["at"]))
        body = json.dumps(call["body"] or call["query"], ensure_ascii=False)
        echo(f"{when}  {call['errcode']:>5}  {call['method']} {call['path']}  {body}")


@click.command()
@click.argument("path")
@click.argument("errcode", type=int, required=False)
@click.option("--stall", "seconds", type=float, help="Answer only after so many seconds.")
@click.option("--cut", is_flag=True, help="Cut the connection.")
@click.option("--html", is_flag=True, help="Answer with a page of HTML.")
@click.option("--times", type=int, default=0, help="For the next TIMES calls; without it, until heal.")
@click.pass_obj
def fail(
    wechat: WeChat, path: str, errcode: int | None, seconds: float | None, cut: bool, html: bool, times: int
) -> None:
    """Let calls of PATH (/cgi-bin/menu/create, or "*" for any) fail with ERRCODE, or as an option says."""
    kind = "cut" if cut else "html" if html else "stall" if seconds else "errcode"
    if kind == "errcode" and not errcode:
        raise click.UsageError("expected an ERRCODE, --stall, --cut or --html")
    known = {known for _, known in ENDPOINTS}
    if path != "*" and path not in known:
        raise click.UsageError(f"PATH is {path}; expected * or one of: {', '.join(sorted(known))}")
    wechat.fail(path, kind, errcode=errcode or 0, seconds=seconds or 0, times=times)


@click.command()
@click.pass_obj
def heal(wechat: WeChat) -> None:
    """End all faults."""
    wechat.heal()


@click.command("revoke-token")
@click.pass_obj
def revoke_token(wechat: WeChat) -> None:
    """Make the access token bad, as another program's forced refresh does."""
    wechat.revoke_token()


@click.command("expire-token")
@click.pass_obj
def expire_token(wechat: WeChat) -> None:
    """Let the access token end now."""
    wechat.expire_token()


@click.command("close-window")
@click.argument("openid")
@click.pass_obj
def close_window(wechat: WeChat, openid: str) -> None:
    """Let no customer-service message follow what OPENID did so far."""
    wechat.close_window(openid)
