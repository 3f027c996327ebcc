"""Fields of requests that mean nothing here: their responses name them."""

from pydantic import BaseModel


def ignored_headers(asked: BaseModel) -> dict[str, str]:
    """Give the header that names the top-level fields which a request brought in vain; none where it brought none."""
    names = sorted(asked.model_extra or ())
    told = (name if name.isascii() and name.isprintable() else "?" for name in names)
    return {"x-threadmesh-ignored": ", ".join(told)[:1024]} if names else {}
