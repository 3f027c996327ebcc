"""A unit that serves its health over gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from pydantic_settings import SettingsConfigDict

from threadmesh.rpc.unit import Unit, main
from threadmesh.settings import UnitSettings


class SmallSettings(UnitSettings):
    model_config = SettingsConfigDict(env_prefix="CONTEXT_")


@asynccontextmanager
async def small_app(settings: UnitSettings, registry: CollectorRegistry) -> AsyncIterator[Unit]:
    async def ping() -> None:
        return

    yield Unit(services=[], ping=ping)


if __name__ == "__main__":
    main("context", SmallSettings, small_app)
