"""Print Envoy's configuration for one machine: the one of the cluster with loopback addresses.

    python deploy/envoy/render.py > .build/envoy.yaml
    envoy --disable-hot-restart -c .build/envoy.yaml

Ports default to those of `threadmesh up`. The descriptor set is what `python proto/generate.py` writes. Links to units
are in plaintext; for a mesh of `threadmesh up --mtls` give the folder of its certificates by --certificates: then two
more files are written, beside the descriptor set, from which Envoy learns of replaced certificates.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("envoy.yaml")
DESCRIPTOR = SOURCE.parents[2] / ".build" / "envoy.binpb"
CERTIFICATE, AUTHORITY = "link-certificate.yaml", "link-authority.yaml"
"""What Envoy reads again when certificates are replaced."""
LOOPBACK = "127.0.0.1"


def main() -> int:
    """Write the local configuration to standard output; returns the exit status."""
    options = arguments().parse_args()
    config = local(
        yaml.safe_load(SOURCE.read_text()),
        listeners={"mesh": options.mesh, "operations": options.operations},
        clusters={
            "inference": options.inference,
            "tools": [options.tools],
            "context": [options.context],
            "facade": [options.facade],
            "admin": [options.admin],
        },
        descriptor=options.descriptor,
    )
    secured(config, options.certificates, build=options.descriptor.parent)
    yaml.safe_dump(config, sys.stdout, sort_keys=False)
    return 0


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=int, default=8000, help="Envoy's own port")
    parser.add_argument("--operations", type=int, default=9104, help="port of /livez, /readyz and /metrics")
    parser.add_argument("--admin", type=int, default=9901, help="port of Envoy's admin interface")
    parser.add_argument("--inference", type=int, nargs="+", default=[50051], help="one port a replica")
    parser.add_argument("--tools", type=int, default=50052)
    parser.add_argument("--context", type=int, default=50053)
    parser.add_argument("--facade", type=int, default=8080)
    parser.add_argument("--descriptor", type=Path, default=DESCRIPTOR, help="the descriptor set of the API")
    parser.add_argument("--certificates", type=Path, help="folder of `threadmesh certs`, for links with mTLS")
    return parser


def local(
    config: dict[str, Any], *, listeners: Mapping[str, int], clusters: Mapping[str, Sequence[int]], descriptor: Path
) -> dict[str, Any]:
    """Move every listener and every endpoint of `config` to loopback, in place, and return it.

    `listeners` and `clusters` give the ports by name; a cluster gets one endpoint a port.
    """
    resources = config["static_resources"]
    config["admin"]["address"] = address(clusters["admin"][0])
    for listener in resources["listeners"]:
        listener["address"] = address(listeners[listener["name"]])
    for cluster in resources["clusters"]:
        cluster["type"] = "STATIC"
        endpoints = [
            endpoint(f"{cluster['name']}-{index}", port) for index, port in enumerate(clusters[cluster["name"]])
        ]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
        for check in cluster.get("health_checks", ()):
            if "http_health_check" in check:  # a facade on loopback answers by names of loopback only
                check["http_health_check"]["host"] = LOOPBACK
    for transcoder in transcoders(resources["listeners"]):
        transcoder["proto_descriptor"] = str(descriptor)
    return config


def secured(config: dict[str, Any], certificates: Path | None, *, build: Path) -> None:
    """Let the links to units use these certificates, through files in `build`; without any they are in plaintext."""
    clusters = [each for each in config["static_resources"]["clusters"] if "transport_socket" in each]
    if certificates is None:
        for cluster in clusters:
            del cluster["transport_socket"]
        return
    directory = certificates.absolute()
    for name in (CERTIFICATE, AUTHORITY):
        text = SOURCE.with_name(name).read_text().replace("/etc/threadmesh-link/tls.crt", f"{directory}/envoy.pem")
        text = text.replace("/etc/threadmesh-link/tls.key", f"{directory}/envoy.key")
        text = text.replace("/etc/threadmesh-link/ca.crt", f"{directory}/ca.pem")
        (build / name).write_text(text.replace("/etc/threadmesh-link", str(directory)))
    for cluster in clusters:
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
        (certificate,) = context["tls_certificate_sds_secret_configs"]
        authority = context["combined_validation_context"]["validation_context_sds_secret_config"]
        for name, secret in ((CERTIFICATE, certificate), (AUTHORITY, authority)):
            secret["sds_config"]["path_config_source"]["path"] = str(build.absolute() / name)


def endpoint(hash_key: str, port: int) -> dict[str, Any]:
    """Describe one replica on loopback."""
    metadata = {"filter_metadata": {"envoy.lb": {"hash_key": hash_key}}}
    return {"endpoint": {"address": address(port)}, "metadata": metadata}


def address(port: int) -> dict[str, Any]:
    """Describe a port on loopback."""
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def transcoders(part: Any) -> list[dict[str, Any]]:
    """Find every transcoder's settings below a part of the configuration."""
    if isinstance(part, list):
        return [found for each in part for found in transcoders(each)]
    if not isinstance(part, dict):
        return []
    here = [part] if "proto_descriptor" in part else []
    return here + transcoders(list(part.values()))


if __name__ == "__main__":
    sys.exit(main())
