"""The load, in a process of its own: `python -m bench.loadgen`, told on standard input what to do.

In charge of: which load that is, and telling the bench when its window begins and ends.
Knows about: the loads. Says a line of JSON for each thing that happens.
Does not know: what is made of it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

import uvloop

from bench.asking import Asking
from bench.glimpses import Glimpses
from bench.returning import Returning
from bench.talk import Talk


def say(what: str, **rest: Any) -> None:
    """One line, at once."""
    print(json.dumps({"says": what, **rest}), flush=True)


async def _talk(spec: dict[str, Any]) -> dict[str, Any]:
    talk = Talk(spec, say)
    await talk.connect()
    gc.collect()
    gc.freeze()
    gc.disable()
    return await talk.run()


async def _return(spec: dict[str, Any]) -> dict[str, Any]:
    return await Returning(spec, say).run()


async def _ask(spec: dict[str, Any]) -> dict[str, Any]:
    return await Asking(spec, say).run()


async def _glimpse(spec: dict[str, Any]) -> dict[str, Any]:
    return await Glimpses(spec, say).run()


def main() -> None:
    """Do it."""
    spec = json.load(sys.stdin)
    loads = {"talk": _talk, "return": _return, "ask": _ask, "glimpses": _glimpse}
    load = loads[spec["load"]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        say("result", result=runner.run(load(spec)))


if __name__ == "__main__":
    main()
