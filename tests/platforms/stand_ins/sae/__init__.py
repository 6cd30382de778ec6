"""SAE's module, as far as its documents say what it does with an application."""

from collections.abc import Callable
from typing import Any


def create_wsgi_app(app: Callable[..., Any]) -> Callable[..., Any]:
    def application(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return application
