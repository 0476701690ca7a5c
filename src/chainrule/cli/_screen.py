"""What people read: through ``Screen`` a text of a file, a label or a path means nothing but itself."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from ._streams import printable


class Screen(Console):
    """A console to which every string is data: brackets, colons and control characters are shown, on one line.

    What looks is said beside the string: ``screen.print(line, style="bold")``. A ``Text`` is taken as it is.
    """

    def __init__(self) -> None:
        super().__init__(soft_wrap=True)

    def render_str(self, text: str, **settings: Any) -> Text:
        """All strings come by here, those in the cells of a table too."""
        return super().render_str(printable(text), **settings | {"markup": False, "emoji": False, "highlight": False})
