"""What tests of the command share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vlp_zoo.cli.names import expand


@pytest.fixture(scope="session")
def parse() -> Callable[[list[str]], Any]:
    """The real parser of fit, stopped before anything is built."""
    from vlp_zoo.cli import lightning_cli

    class Stop(Exception):
        pass

    class ParseOnly(lightning_cli.VLPZooCLI):
        def parse_arguments(self, parser: Any, args: Any) -> None:
            raise Stop(parser)

    with pytest.raises(Stop) as caught:
        lightning_cli.run(expand(["fit", "--config", "demo/clip"]), ParseOnly)
    parser = caught.value.args[0]

    def parsed(words: list[str]) -> Any:
        placed = [word.replace("{folder}", "out") for word in words]
        return parser.parse_args(expand(placed).arguments)["fit"]

    return parsed
