"""Pins for as long as the process lives."""

from collections.abc import Collection

from tools_svc.domain.pin import Pin


class MemoryPins:
    """A `PinStore` that forgets with the process."""

    def __init__(self) -> None:
        self._pins: dict[tuple[str, str], Pin] = {}

    def pins(self) -> Collection[Pin]:
        """Give what is kept."""
        return tuple(self._pins.values())

    async def keep(self, pins: Collection[Pin]) -> None:
        """Keep these."""
        self._pins |= {(pin.server, pin.tool): pin for pin in pins}
