"""The faults of devices and of the network between them and the server."""

from __future__ import annotations

# The name of each fault, and its greatest probability per request, or per step of a device.
FAULTS: dict[str, float] = {
    "device without network": 0.12,
    "device request lost": 0.15,
    "device request late": 0.20,
    "device request twice": 0.20,
    "device response lost": 0.25,
    "device response cut": 0.10,
    "captive portal": 0.12,
    "page of a proxy": 0.12,
    "refusal of a gateway": 0.08,
    "stale page": 0.35,
    "page of a cache": 0.20,
    "page garbled": 0.15,
    "short page of the API": 0.20,
    "server busy": 0.10,
    "device crash": 0.04,
    "device crash in a transaction": 0.25,
    "device clock wrong": 0.60,
    "device clock jumps": 0.20,
    "store copied": 0.08,
    "store restored": 0.12,
    "store restored to a new file": 0.03,
    "other login": 0.10,
    "membership revoked": 0.10,
    "project deleted on the device": 0.02,
}
SERVER_RESTORE = 0.3
"""Probability that the server is restored from a backup in a schedule."""
