"""Two members, two windows: what one does, the other sees, live and by the database's word only."""

from __future__ import annotations

import re

import pytest

from tests.ui.bookshop import Bookshop, OpenWindow, expect

pytestmark = [pytest.mark.browser, pytest.mark.feed]


def test_text_typed_in_one_window_appears_in_the_other(shop: Bookshop, window: OpenWindow) -> None:
    """The sender sees it at once, then as sent, then as seen; the reader sees it live."""
    shop.world.send(shop.world.ada, shop.world.converse(shop.world.ada, shop.world.ben), "Hello")
    ada, ben = window("ada").enter(), window("ben").enter()
    ada.open("Ben Okafor")
    ben.open("Ada Lindqvist")
    ada.say("Have you read it yet?")
    expect(ada.bubble("Have you read it yet?")).to_be_visible()
    expect(ben.bubble("Have you read it yet?")).to_be_visible()
    expect(ada.page.locator("[data-state=seen]")).to_be_visible()
    ben.say("Last night.")
    expect(ada.bubble("Last night.")).to_be_visible()
    expect(ada.bubbles).to_have_text(["Hello", "Have you read it yet?", "Last night."])
    expect(ben.bubbles).to_have_text(["Hello", "Have you read it yet?", "Last night."])


def test_unread_badge_counts_and_clears_when_read(shop: Bookshop, window: OpenWindow) -> None:
    """Badge, order of rows and the window's title follow; opening clears them."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    other = world.converse(world.ada, world.cleo)
    world.send(world.ada, talk, "One")
    world.send(world.cleo, other, "Later")
    ada = window("ada").enter()
    badge = ada.row("Ben Okafor").locator(".badge")
    expect(ada.row("Cleo Marchetti").locator(".badge")).to_have_attribute("data-unread", "1")
    expect(badge).to_have_count(0)
    for count in (1, 2, 3):
        world.send(world.ben, talk, f"Number {count}")
        expect(badge).to_have_attribute("data-unread", str(count))
    expect(ada.page.locator("bookconnect-inbox a.row").first).to_contain_text("Ben Okafor")
    expect(ada.page).to_have_title("(2) BookConnect messages")
    ada.open("Ben Okafor")
    expect(badge).to_have_count(0)
    expect(ada.page.locator("bookconnect-thread .divider")).to_have_text("New")
    expect(ada.page).to_have_title("(1) BookConnect messages")


def test_a_deletion_disappears_in_both(shop: Bookshop, window: OpenWindow) -> None:
    """From both threads and from the inbox, when the moment to undo it has passed."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ada, talk, "Stays")
    world.send(world.ada, talk, "Said too much")
    ada, ben = window("ada").enter(), window("ben").enter()
    ada.open("Ben Okafor")
    ben.open("Ada Lindqvist")
    expect(ben.bubble("Said too much")).to_be_visible()
    ada.bubble("Said too much").hover()
    ada.page.get_by_role("button", name="Delete").click()
    expect(ada.page.get_by_role("button", name="Undo")).to_be_visible()
    expect(ada.bubbles).to_have_text(["Stays"])
    expect(ben.bubbles).to_have_text(["Stays", "Said too much"])
    for one in (ada, ben):
        expect(one.bubbles).to_have_text(["Stays"])
    expect(ada.row("Ben Okafor")).to_contain_text("You: Stays")
    expect(ben.row("Ada Lindqvist")).to_contain_text("Stays")


def test_a_row_from_plain_sql_appears_and_one_rolled_back_never_does(
    shop: Bookshop, window: OpenWindow
) -> None:
    """No server is involved in the write: the page believes commits, and nothing else."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ada, talk, "Before")
    ben = window("ben").enter()
    ben.open("Ada Lindqvist")
    expect(ben.bubbles).to_have_text(["Before"])
    statement = (
        "insert into public.direct_messages (conversation_id, sender_id, content)"
        " values (%s, %s, %s)"
    )
    with world.db.as_user(world.ada) as connection:
        connection.execute(statement, (talk, world.ada, "Rolled back"))
        connection.rollback()
    with world.db.as_user(world.ada) as connection:
        connection.execute(statement, (talk, world.ada, "Committed"))
    expect(ben.bubbles).to_have_text(["Before", "Committed"])
    world.send(world.ada, talk, "After")
    expect(ben.bubbles).to_have_text(["Before", "Committed", "After"])


def test_a_new_conversation_appears_in_the_other_window(shop: Bookshop, window: OpenWindow) -> None:
    """Found by typing a name; nobody hears of it before the first word."""
    ada, ben = window("ada").enter(), window("ben").enter()
    expect(ben.page.get_by_text("No conversations yet.")).to_be_visible()
    ada.page.get_by_role("link", name="New message").click()
    ada.page.get_by_role("searchbox", name="Search members of your stores").fill("oka")
    found = ada.page.locator("bookconnect-new-message button.row")
    expect(found).to_have_count(1)
    found.click()
    ada.composer.wait_for()
    ada.say("Is the reading on Thursday?")
    expect(ben.row("Ada Lindqvist")).to_contain_text("Is the reading on Thursday?")
    expect(ben.row("Ada Lindqvist").locator(".badge")).to_have_attribute("data-unread", "1")
    assert re.search(r"#/messages/[0-9a-f-]{36}$", ada.page.url)


def test_two_tabs_of_one_member_agree(shop: Bookshop, window: OpenWindow) -> None:
    """What one tab sends or reads, the other shows."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ben, talk, "Unread")
    one, two = window("ada").enter(), window("ada").enter()
    expect(two.row("Ben Okafor").locator(".badge")).to_have_attribute("data-unread", "1")
    one.open("Ben Okafor")
    expect(two.row("Ben Okafor").locator(".badge")).to_have_count(0)
    one.say("From the first tab")
    expect(two.row("Ben Okafor")).to_contain_text("You: From the first tab")


def test_a_newcomer_opens_the_second_window_from_the_first(
    shop: Bookshop, window: OpenWindow
) -> None:
    """The demo's door says what to do; one button, and the other end stands beside this one."""
    world = shop.world
    world.send(world.ben, world.converse(world.ada, world.ben), "Hello")
    ada = window("ada")
    ada.page.goto(shop.url)
    expect(ada.page.get_by_text("open a second window")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Dora Weiss")).to_contain_text("store manager")
    ada.page.get_by_role("button", name="Ada Lindqvist").click()
    ada.open("Ben Okafor")
    with ada.context.expect_page() as opened:
        ada.page.get_by_role("button", name="Second window as Ben").click()
    ben = opened.value
    ben.locator("bookconnect-inbox a.row", has_text="Ada Lindqvist").click()
    ada.say("Here I am")
    expect(ben.locator("bookconnect-thread .bubble")).to_have_text(["Hello", "Here I am"])
