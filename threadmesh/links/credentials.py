"""The certificate, key and authorities of a process, followed while it runs."""

from datetime import datetime

import structlog

from threadmesh.clock import Clock, SystemClock
from threadmesh.links.certificates import Certificate, Material
from threadmesh.links.files import FollowedFiles
from threadmesh.links.link import TlsFiles
from threadmesh.links.pem import read_material
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()


class Credentials:
    """A link's files as they are now. The log says when the certificate nears its end and when it has reached it."""

    def __init__(self, files: TlsFiles, *, clock: Clock | None = None) -> None:
        """Raises `ConfigurationError` for files that cannot be used, also because their time is over."""
        self._files = files
        self._clock = clock or SystemClock()
        self._followed = FollowedFiles(files.paths, lambda: read_material(files))
        self._told: tuple[Certificate, str] | None = None
        facts = self._followed.current().facts
        if facts and facts.expired(self._clock.now()):
            raise ConfigurationError(f"{files.certificate}: the certificate has expired on {_written(facts.ends)}")
        self.current()

    def current(self) -> Material:
        """Give what the files say now; the same object as before unless one of them has been replaced."""
        material = self._followed.current()
        if material.facts is not None:
            self._watch(material.facts)
        return material

    def _watch(self, facts: Certificate) -> None:
        now = self._clock.now()
        if not facts.expires_soon(now):
            return
        event = "link.certificate_expired" if facts.expired(now) else "link.certificate_expires_soon"
        if self._told == (facts, event):
            return
        self._told = (facts, event)
        level = log.error if facts.expired(now) else log.warning
        level(event, certificate=str(self._files.certificate), member=facts.member, ends=_written(facts.ends))


def _written(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="minutes").removesuffix("+00:00") + " UTC"
