"""A bot that answers every message: `SERVER=https://chat.example TOKEN=... python bot.py`."""

import asyncio
import os

from bookconnect_dm.client import Client
from bookconnect_dm.wire import MessageFrame


async def token() -> str:
    return os.environ["TOKEN"]  # in earnest: ask the host application for a fresh one


async def main() -> None:
    async with Client(os.environ["SERVER"], token) as bot:
        async for event in bot.events():
            if isinstance(event, MessageFrame) and event.message.sender_id != bot.user_id:
                answer = f"You said: {event.message.content}"
                await bot.send(event.message.conversation_id, answer)


asyncio.run(main())
