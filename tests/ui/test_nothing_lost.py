"""Servers that go away, networks that end: what was written arrives, once and in order."""

from __future__ import annotations

import pytest

from tests.ui.bookshop import Bookshop, OpenWindow, expect
from tests.ui.conftest import ON_A_PHONE

pytestmark = [pytest.mark.browser, pytest.mark.feed]

# What Chromium itself prints when it cannot connect; a page cannot prevent it.
NO_NETWORK = r"net::ERR_|WebSocket connection to|the server responded with a status of 5"


def _sent(shop: Bookshop) -> list[str]:
    rows = shop.world.db.run("select content from public.direct_messages order by sent_at")
    return [row["content"] for row in rows]


@ON_A_PHONE
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_server_restart_while_typing_loses_nothing(
    shop: Bookshop, window: OpenWindow, how: str
) -> None:
    """The half-written line stays, what was sent meanwhile arrives, what came meanwhile shows."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ada, talk, "Before")
    ada = window("ada").enter()
    ada.forgive(NO_NETWORK)
    ada.open("Ben Okafor")
    ada.composer.press_sequentially("Half a sen")
    getattr(shop, how)()
    ada.composer.press_sequentially("tence, finished")
    ada.send()
    ada.say("And a second one")
    ada.composer.press_sequentially("A draft")
    expect(ada.page.locator("[data-state=sending]").last).to_be_visible()
    world.send(world.ben, talk, "While you were away")
    shop.start()
    expect(ada.page.locator("[data-state=sending]")).to_have_count(0, timeout=30_000)
    expect(ada.bubbles).to_have_text(
        ["Before", "While you were away", "Half a sentence, finished", "And a second one"]
    )
    expect(ada.composer).to_have_value("A draft")
    assert _sent(shop) == [
        "Before",
        "While you were away",
        "Half a sentence, finished",
        "And a second one",
    ]


@ON_A_PHONE
def test_what_is_written_before_anything_could_be_loaded_is_seen_to_wait(
    shop: Bookshop, window: OpenWindow
) -> None:
    """The page says that the messages could not be loaded, and shows mine all the same."""
    world = shop.world
    world.send(world.ada, world.converse(world.ada, world.ben), "Before")
    ada = window("ada").enter()
    ada.forgive(NO_NETWORK)
    expect(ada.page.locator("bookconnect-inbox a.row")).to_contain_text("Before")
    shop.kill()
    ada.open("Ben Okafor")
    failed = ada.page.get_by_text("The messages could not be loaded.")
    expect(failed).to_be_visible()
    ada.say("Are you there?")
    ada.say("I am.")
    expect(ada.bubbles).to_have_text(["Are you there?", "I am."])
    expect(ada.page.locator("[data-state=sending]").last).to_be_visible()
    expect(failed).to_be_visible()
    shop.start()
    expect(ada.bubbles).to_have_text(["Before", "Are you there?", "I am."], timeout=30_000)
    expect(ada.page.locator("[data-state=sending]")).to_have_count(0)
    expect(failed).to_have_count(0)
    assert _sent(shop) == ["Before", "Are you there?", "I am."]


@ON_A_PHONE
def test_a_conversation_of_which_nothing_could_be_loaded_keeps_its_way_out(
    shop: Bookshop, window: OpenWindow
) -> None:
    """Not even with whom: something that waits to be sent does not hide that it can be retried."""
    world = shop.world
    world.send(world.ada, world.converse(world.ada, world.ben), "Before")
    ada = window("ada").enter()
    ada.forgive(NO_NETWORK)
    ada.open("Ben Okafor")
    expect(ada.bubbles).to_have_text(["Before"])
    ada.context.set_offline(offline=True)
    ada.say("Waits")
    ada.context.route("**/v1/conversations**", lambda route: route.abort())
    ada.context.route_web_socket("**/v1/realtime**", lambda socket: socket.close())
    ada.context.set_offline(offline=False)
    ada.page.reload()
    stage = ada.page.locator("bookconnect-thread .stage")
    expect(stage).to_contain_text("The messages could not be loaded.")
    ada.context.unroute("**/v1/conversations**")
    stage.get_by_role("button", name="Try again").click()
    expect(ada.bubbles).to_have_text(["Before", "Waits"])


def test_five_messages_written_offline_survive_a_reload_and_arrive_once_in_order(
    shop: Bookshop, window: OpenWindow
) -> None:
    """They wait in the browser, in order, and are sent under the ids they were written with."""
    world = shop.world
    world.send(world.ada, world.converse(world.ada, world.ben), "Before")
    ada, ben = window("ada").enter(), window("ben").enter()
    ada.forgive(NO_NETWORK)
    ada.open("Ben Okafor")
    ben.open("Ada Lindqvist")
    expect(ada.bubbles).to_have_text(["Before"])
    ada.context.set_offline(offline=True)
    expect(ada.page.locator("bookconnect-inbox .strip")).to_contain_text("You are offline")
    lines = [f"Offline {number}" for number in range(1, 6)]
    for line in lines:
        ada.say(line)
    expect(ada.bubbles).to_have_text(["Before", *lines])
    ada.composer.fill("A draft")
    ada.context.set_offline(offline=False)
    ada.page.reload()
    expect(ada.bubbles).to_have_text(["Before", *lines])
    expect(ben.bubbles).to_have_text(["Before", *lines])
    expect(ada.page.locator("[data-state=sending]")).to_have_count(0)
    expect(ada.composer).to_have_value("A draft")
    assert _sent(shop) == ["Before", *lines]


def test_what_happened_while_away_is_there_after_the_gap(
    shop: Bookshop, window: OpenWindow
) -> None:
    """New messages, deletions and counts come by the catch-up, without a reload."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ben, talk, "Stays")
    victim = world.send(world.ben, talk, "Goes")
    ada = window("ada").enter()
    ada.forgive(NO_NETWORK)
    ada.open("Ben Okafor")
    expect(ada.bubbles).to_have_text(["Stays", "Goes"])
    ada.context.set_offline(offline=True)
    expect(ada.page.locator("bookconnect-inbox .strip")).to_be_visible()
    with world.db.as_user(world.ben) as connection:
        connection.execute("select public.delete_message(message_id => %s)", (victim,))
    world.send(world.ben, talk, "New")
    world.send(world.cleo, world.converse(world.ada, world.cleo), "From somebody else")
    ada.context.set_offline(offline=False)
    expect(ada.bubbles).to_have_text(["Stays", "New"])
    expect(ada.row("Cleo Marchetti").locator(".badge")).to_have_attribute("data-unread", "1")
    expect(ada.page.locator("bookconnect-inbox .strip")).to_have_count(0)


@ON_A_PHONE
def test_a_message_that_the_server_refuses_says_so_and_can_be_tried_again(
    shop: Bookshop, window: OpenWindow
) -> None:
    """Not sent, in words and with a way on; the text is never thrown away."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ben, talk, "Before")
    ada = window("ada").enter()
    ada.open("Ben Okafor")
    expect(ada.bubbles).to_have_text(["Before"])
    shop.world.db.run(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$begin raise sqlstate 'PT409' using message = 'LEGAL_HOLD', detail = 'held'; end$$;"
    )
    shop.world.db.run(
        "create trigger zz_refuse before insert on public.direct_messages"
        " for each row execute function public.refuse()"
    )
    ada.say("Refused at first")
    line = ada.page.locator(".line", has_text="Refused at first")
    expect(line).to_contain_text("Not sent")
    expect(ada.row("Ben Okafor").locator(".problem")).to_have_count(1)  # behind, on a phone
    shop.world.db.run("drop trigger zz_refuse on public.direct_messages")
    line.get_by_role("button", name="Try again").click()
    expect(line).not_to_contain_text("Not sent")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert _sent(shop) == ["Before", "Refused at first"]
