"""Where small programs sign in and stay connected as long as they live, so that a test can wait for both."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from threadmesh.cli.plan import Program
from threadmesh.cli.units import Probe

SCRIPT = Path(__file__).with_name("small_units") / "signing.py"


class Roll:
    """Says what happened, in order: `<name> began` and `<name> ended`."""

    def __init__(self, folder: Path) -> None:
        self.port = 0
        self._folder = folder
        self._events: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        """Wait for the next thing to happen."""
        async with asyncio.timeout(30):
            return await self._events.get()

    async def nexts(self, count: int) -> list[str]:
        """Wait for the next things to happen."""
        return [await self.next() for _ in range(count)]

    def program(self, name: str, behaviour: str = "wait") -> Program:
        """Give a program that signs in here and then behaves as told; see `signing.py`."""
        return Program(
            unit=name,
            command=(sys.executable, str(SCRIPT), str(self.port), name, behaviour),
            environment=dict(os.environ),
            address="127.0.0.1:1",
            metrics_url="",
            probe=Probe.GRPC,
            log=self._folder / f"{name}.log",
        )

    async def signed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow one program until its end."""
        try:
            name = (await reader.readline()).decode().strip()
            await self._events.put(f"{name} began")
            await reader.read()
            await self._events.put(f"{name} ended")
        finally:  # also where the test ends before the program does
            writer.close()


@asynccontextmanager
async def open_roll(folder: Path) -> AsyncIterator[Roll]:
    """Keep a roll on a free port."""
    roll = Roll(folder)
    server = await asyncio.start_server(roll.signed, "127.0.0.1", 0)
    async with server:
        roll.port = server.sockets[0].getsockname()[1]
        yield roll
