"""A simulated process with a storage: its clocks, its credentials and its connection to DynamoDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.credentials import CredentialChain
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.runtime import Runtime
from sltt_core.log.batches import CHUNK_BYTES
from tests.dynamodb_model.model import Model
from tests.simulation.network import HostTransport, TokenService
from tests.simulation.scheduler import EPOCH, Host, Lock

if TYPE_CHECKING:
    from tests.simulation.world import World

TABLE = "logs"

MakeStorage = Callable[..., DynamoDBStorageService]
MakeClient = Callable[..., DynamoDBClient]


class Parts(NamedTuple):
    """The classes that a world uses. A planted bug replaces one of them."""

    storage: MakeStorage = DynamoDBStorageService
    client: MakeClient = DynamoDBClient
    model: Callable[..., Model] = Model


class Process:
    """A simulated process with a storage."""

    def __init__(self, world: World, name: str, parts: Parts, skewed: bool) -> None:
        random = world.random
        self.host = Host(name)
        self.clients: list[Callable[[], object]] = []
        """The work that runs on it. If it dies, another process starts the work again."""
        if skewed and world.faults.occurs("clock skew"):
            self.host.skew = random.choice((-1, 1)) * random.choice((0.5, 100.0, 250.0, 1000.0))
        self.time_limit = random.choice((1.0, 3.0, 10.0))
        self.chunk_changes = random.choice((2, 3, 5, 98))
        self.chunk_bytes = random.choice((1_500, 4_000, CHUNK_BYTES, CHUNK_BYTES))
        scheduler, host = world.scheduler, self.host

        def clock() -> int:
            return int((scheduler.now + host.skew) * 1e9)

        def steady() -> float:
            return scheduler.now - EPOCH - host.lost

        life = early = 3600.0
        if self.host.skew <= 1.0 and world.faults.occurs("credentials expire"):
            life = random.choice((3.0, 20.0))
            early = life * random.random()
        # The time at which they expire is true time; the clock of the process may differ.
        tokens = TokenService(lambda: scheduler.now, life, life - early)
        self.runtime = runtime = Runtime(
            clock=clock,
            steady_clock=steady,
            pause=scheduler.sleep,
            random=random.random,
            new_token=lambda: f"{random.getrandbits(128):032x}",
            new_lock=lambda: Lock(scheduler),
            transport=lambda origin, seconds: HostTransport(world.network, host, steady, self.chunk_bytes),
        )
        client = parts.client("eu-west-1", CredentialChain([tokens], runtime=runtime).get, runtime=runtime)
        self.storage = parts.storage(
            TABLE,
            client=client,
            check_table=False,
            runtime=runtime,
            time_limit=lambda: self.time_limit,
            chunk_changes=self.chunk_changes,
            chunk_bytes=self.chunk_bytes,
            page_bytes=random.choice((1_000, 4_000_000)),
        )
        self.storage.initialize()
