"""The views that were used last, by name; the oldest is forgotten. Any thread may ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from services.billing.edge.views.shelf import Shelved

MAX_VIEWS: Final = 36


class KeptViews:
    """At most MAX_VIEWS of them. The file of a view that is forgotten goes with its last reader."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Shelved] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Shelved | None:
        """The view; None if there is none, or something else has removed its file."""
        with self._lock:
            found = self._kept.get(name)
        return found if found is not None and found.view.is_there() else None

    def keep(self, name: str, shelved: Shelved) -> Shelved:
        """Keep this view as the last that was used; return it."""
        with self._lock:
            self._kept[name] = shelved
            self._kept.move_to_end(name)
            while len(self._kept) > MAX_VIEWS:
                self._kept.popitem(last=False)
        return shelved
