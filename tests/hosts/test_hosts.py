from __future__ import annotations
from tests.helpers.postgres import Cluster
from tests.helpers.world import make_world
import pytest

@pytest.mark.parametrize("adapter", ["standalone", "bookconnect", "supabase"])
def test_x(cluster: Cluster, adapter: str) -> None:
    db = cluster.database(adapter=adapter)
    world = make_world(db)
    c = world.converse(world.ada, world.ben)
    world.send(world.ben, c, "hi")
    with db.as_user(world.dora) as connection:
        print(connection.execute("select get_me()").fetchall())
    db.drop()
