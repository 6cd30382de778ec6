"""``flask wechat password``: the setting for the console, as a hash."""

import click
from werkzeug.security import generate_password_hash

from app import checks
from app.cli import echo, plain_errors


@click.command()
@click.password_option(help="Asked for without showing it, where it is not given.")
def password(password: str) -> None:
    """Make a line for the settings from a password for the console: nobody can read it back out of it."""
    with plain_errors():
        try:
            checks.password(password)
        except ValueError:
            raise ValueError("the password has another length; expected 8 to 200 characters") from None
        echo(f"WECHAT_ADMIN_PASSWORD={generate_password_hash(password)}")
