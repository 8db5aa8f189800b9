"""The EC2 instance type of this host: from the firmware, else from the instance metadata service."""

import os
import re
from pathlib import Path

INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.(?:nano|micro|small|medium|\d*x?large|metal(?:-\d+xl)?)")
METADATA = "http://169.254.169.254"
METADATA_SECONDS = 0.3  # the service answers from the same machine in a few milliseconds, or not at all
WITHOUT_TOKENS = (403, 404, 405)  # what a metadata service answers that knows no tokens (version 1)


def find_instance_type(root: Path, device: bool, reported: str | None = None) -> str | None:
    """`inf2.xlarge`, or None if this is no EC2 instance or its type is not known.

    Args:
        root: the file system to read, for tests.
        device: whether a device is here that only EC2 has; then the metadata service is asked.
        reported: the type that the device's own tool reports.
    """
    firmware = root / "sys/devices/virtual/dmi/id"
    vendor, product = read_text(firmware / "sys_vendor"), read_text(firmware / "product_name")
    for text in (product if "Amazon EC2" in vendor else "", reported or ""):
        if is_instance_type(text):
            return text
    if device or "Amazon EC2" in vendor or _on_xen(root, firmware):
        return ask_metadata()
    return None


def is_instance_type(text: str) -> bool:
    return INSTANCE_TYPE.fullmatch(text) is not None


def read_text(path: Path) -> str:
    """The text of a small system file; empty if there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def ask_metadata() -> str | None:
    """The instance type by the metadata service, with a session token if the service gives one.

    AWS_EC2_METADATA_SERVICE_ENDPOINT names another address; AWS_EC2_METADATA_DISABLED=true forbids to ask.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    from http.client import HTTPException  # here: most hosts never ask
    from urllib.error import HTTPError

    try:
        try:
            token = _ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
            headers = {"X-aws-ec2-metadata-token": token}
        except HTTPError as error:
            error.close()
            if error.code not in WITHOUT_TOKENS:
                return None
            headers = {}
        name = _ask("GET", "/latest/meta-data/instance-type", headers)
    except HTTPError as error:
        error.close()
        return None
    except (OSError, ValueError, HTTPException):  # no route, silence, an address that is none, not HTTP
        return None
    return name if is_instance_type(name) else None


def _ask(method: str, path: str, headers: dict[str, str]) -> str:
    from urllib.request import ProxyHandler, Request, build_opener

    base = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA).rstrip("/")
    direct = build_opener(ProxyHandler({}))  # a proxy would answer for another machine
    with direct.open(Request(base + path, method=method, headers=headers), timeout=METADATA_SECONDS) as answer:
        return str(answer.read(200).decode("ascii", "replace")).strip()


def _on_xen(root: Path, firmware: Path) -> bool:
    """Older instances (p3) are Xen guests, whose firmware names Amazon but not the instance type."""
    return "amazon" in read_text(firmware / "bios_version").lower() or read_text(
        root / "sys/hypervisor/uuid"
    ).startswith("ec2")
