"""The programs in `examples` run as they stand, and the page about the client shows them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from bookconnect_dm.client import new_message_id
from tests.helpers.live import Live, live
from tests.helpers.server import RunningServer, token_for
from tests.helpers.world import World

pytestmark = pytest.mark.feed

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "python-client.md"
FENCES = re.compile(r"^```python example=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@contextlib.contextmanager
def running(name: str, server: RunningServer, member: UUID) -> Iterator[subprocess.Popen[bytes]]:
    """An example as a process of its own."""
    env = {**os.environ, "SERVER": server.url, "TOKEN": token_for(member)}
    process = subprocess.Popen([sys.executable, ROOT / "examples" / name], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


async def until_it_answers(who: Live, conversation: str, member: UUID) -> str:
    """What is said before its first catch-up is history to it: say hello until it listens."""
    for number in range(60):
        message_id = str(new_message_id())
        await say(who, conversation, message_id, f"Hello {number}")
        with contextlib.suppress(TimeoutError):
            while True:
                message = (await who.hear("message", timeout_s=1))["message"]
                if message["sender_id"] == str(member):
                    return str(message["content"])
    raise AssertionError("the bot does not answer")


async def say(who: Live, conversation: str, message_id: str, content: str) -> None:
    answer = await who.ask("send", id=message_id, conversation_id=conversation, content=content)
    assert answer["type"] == "ack", answer


async def test_the_bot_answers_also_after_a_restart_of_the_server(
    server: RunningServer, shared: World
) -> None:
    conversation = str(await asyncio.to_thread(shared.converse, shared.ada, shared.cleo))
    with running("bot.py", server, shared.cleo) as bot:
        async with live(server.socket_url, token_for(shared.ada)) as ada:
            answer = await until_it_answers(ada, conversation, shared.cleo)
            assert answer.startswith("You said: Hello ")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(shared.send, shared.ada, UUID(conversation), "Are you there?")
        assert bot.poll() is None
        await asyncio.to_thread(server.start)
        # What was said while there was no server is answered too.
        said: list[str] = []
        async with asyncio.timeout(30):
            while "You said: Are you there?" not in said:
                said = await asyncio.to_thread(texts, shared, conversation)
        assert said.count("You said: Are you there?") == 1


def texts(world: World, conversation: str) -> list[str]:
    rows = world.db.run(
        "select content from public.direct_messages where conversation_id = %s order by sent_at",
        conversation,
    )
    return [row["content"] for row in rows]


def test_the_page_shows_the_examples_as_they_are() -> None:
    shown = dict(FENCES.findall(PAGE.read_text("utf-8")))
    assert shown.keys() == {f"examples/{path.name}" for path in ROOT.glob("examples/*.py")}
    for name, text in shown.items():
        assert text == (ROOT / name).read_text("utf-8"), name


def test_the_bot_has_fifteen_lines() -> None:
    lines = (ROOT / "examples" / "bot.py").read_text("utf-8").splitlines()
    assert sum(1 for line in lines if line.strip()) <= 16  # and one that says what it is
