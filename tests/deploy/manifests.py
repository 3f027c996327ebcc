"""What `kubectl apply -k` would send, as values that tests can ask."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

ROOT = Path(__file__).parents[2]
UNITS = ("inference", "tools", "context", "facade")
WORKLOADS = (*UNITS, "envoy")
NAME = "app.kubernetes.io/name"
LINK_FILES = {"tls.crt", "tls.key", "ca.crt"}
"""What the Secret of a workload's certificate holds; the form is cert-manager's."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """Every object of one kustomization."""

    documents: list[Document]

    def of_kind(self, *kinds: str) -> dict[str, Document]:
        """Give the objects of these kinds by name."""
        return {each["metadata"]["name"]: each for each in self.documents if each["kind"] in kinds}

    def workloads(self) -> dict[str, Document]:
        """Give the objects that make pods, by name."""
        return self.of_kind("Deployment", "StatefulSet")

    def pods(self) -> dict[str, Document]:
        """Give each workload's pod specification, by name."""
        return {name: each["spec"]["template"]["spec"] for name, each in self.workloads().items()}

    def containers(self) -> Iterator[Document]:
        """Give every container, those that run first included."""
        for pod in self.pods().values():
            yield from pod.get("initContainers", [])
            yield from pod["containers"]

    def container(self, workload: str) -> Document:
        """Give the one container that a workload's pods keep running."""
        (container,) = self.pods()[workload]["containers"]
        return dict(container)


def kustomize(root: str) -> str:
    """Render a kustomization of this repository; no cluster is asked."""
    kubectl = Path(sys.executable).parent / "kubectl"
    result = subprocess.run(
        [kubectl, "kustomize", ROOT / root], check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def load(root: str) -> Manifests:
    """Render and parse a kustomization of this repository."""
    return Manifests(list(yaml.safe_load_all(kustomize(root))))
