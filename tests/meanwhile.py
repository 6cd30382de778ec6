"""What goes on beside a test, in threads of its own, while a context is entered."""

import threading
from collections.abc import Callable
from typing import Self


class Meanwhile:
    """Runs ``todo`` while the context is entered; each ends soon after ``is_over`` is set."""

    def __init__(self, *todo: Callable[[], None]) -> None:
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=one) for one in todo]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait until all have ended."""
        self.is_over.set()
        for thread in self._threads:
            thread.join()
