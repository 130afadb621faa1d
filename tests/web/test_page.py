"""The page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from agentd.states import RunState
from agentd.store import holds, plans, runs
from agentd.store.connection import Store
from agentd.supervisor.process import only_one, tell_draining
from agentd.web.source import Source
from tests.web.conftest import CANARY, HOSTILE, add_run, add_story, plan_row

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("AGENTD_PAGE_TOOLS_DIR", ROOT / ".page-tools"))
AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
PATHS = ("/", "/runs", "/runs/{run}", "/tasks", "/tasks/issue-7", "/ledger", "/doctor")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()


@pytest.fixture
def story(filled: Store, source: Source) -> str:
    run = add_run(filled, 7, RunState.running, title=HOSTILE)
    add_story(filled, run)
    add_run(filled, 6, RunState.verify_failed, reason=HOSTILE, finished_at=filled.clock.now())
    plans.note_plan(filled, [plan_row(7, title=HOSTILE), plan_row(8, dependencies=["issue-7"], title=HOSTILE)])
    source.log_of(run.run_id).parent.mkdir(parents=True)
    source.log_of(run.run_id).write_text(f"line one\n{HOSTILE}\n{CANARY}\n")
    return run.run_id


@pytest.fixture
def open_page(browser: Any, page: str, story: str) -> Iterator[Open]:
    """`open_page(path, **context options)`; whatever a page logs as an error fails the test."""
    contexts, wrong = [], []

    def go(path: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        opened: Page = context.new_page()
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        opened.goto(page + path.replace("{run}", story))
        expect(opened.locator("h1")).to_be_visible(timeout=20_000)
        expect(opened.locator("#supervisor")).not_to_be_empty()
        return opened

    yield go
    for context in contexts:
        context.close()
    assert wrong == []


def test_a_running_task_is_shown_as_it_moves(open_page: Open, filled: Store, source: Source, story: str) -> None:
    shown = open_page("/")
    expect(shown.locator("section", has_text="Running").first).to_contain_text("running")
    runs.change_state(filled, story, RunState.verifying)
    expect(shown.locator(".pill", has_text="verifying")).to_be_visible(timeout=10_000)
    shown.get_by_role("link", name="issue-7", exact=True).first.click()
    expect(shown).to_have_url(re.compile(f"/runs/{story}$"))
    log = shown.get_by_label("Log", exact=True)
    expect(log).to_contain_text("line one")
    with source.log_of(story).open("a") as file:
        file.write("line two\n")
    expect(log).to_contain_text("line two", timeout=10_000)
    runs.change_state(filled, story, RunState.fixing)
    expect(shown.locator("dd .pill")).to_have_text("fixing", timeout=10_000)
    shown.go_back()
    expect(shown.locator("h1")).to_have_text("Overview")


def test_a_supervisor_that_drains_is_said_to(open_page: Open, source: Source) -> None:
    with only_one(source.settings.state_dir):
        shown = open_page("/").locator("#supervisor")
        expect(shown).to_have_text("supervisor running", timeout=10_000)
        tell_draining(source.settings.state_dir)
        expect(shown).to_have_text("supervisor drains", timeout=10_000)
    expect(shown).to_have_text("supervisor stopped", timeout=10_000)


def test_a_run_is_cancelled_only_when_that_is_confirmed(open_page: Open, filled: Store, story: str) -> None:
    shown = open_page("/runs/{run}")
    shown.get_by_role("button", name="Cancel").click()
    shown.get_by_role("button", name="Leave it").click()
    found = runs.get_run(filled, story)
    assert found is not None and found.cancel_reason == ""
    shown.get_by_role("button", name="Cancel").click()
    shown.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(shown.locator("#said")).to_contain_text("will end")
    found = runs.get_run(filled, story)
    assert found is not None and found.cancel_reason == "cancelled by the operator"


def test_everything_is_paused_with_a_reason_by_the_keyboard_alone(open_page: Open, filled: Store) -> None:
    shown = open_page("/")
    shown.get_by_role("button", name="Pause").focus()
    shown.keyboard.press("Enter")
    shown.get_by_role("textbox", name="Reason").focus()
    shown.keyboard.type("lunch")
    shown.keyboard.press("Enter")
    expect(shown.get_by_role("button", name="Resume")).to_be_visible(timeout=10_000)
    assert holds.holds(filled)["pause"].observed.endswith("lunch")


@pytest.mark.parametrize("path", PATHS)
def test_what_others_wrote_stays_text_and_no_secret_is_shown(open_page: Open, path: str) -> None:
    shown = open_page(path)
    shown.wait_for_timeout(500)
    assert "owned" not in shown.title() or shown.title().startswith("issue-7: <img")
    assert shown.locator("main img, main script").count() == 0
    assert CANARY not in shown.content()
    assert shown.evaluate("document.title") != "owned"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_keeps_anybody_out(open_page: Open, path: str, look: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed; run scripts/install-page-tools")
    shown = open_page(path, color_scheme=look)
    if path == "/doctor":
        expect(shown.locator("main")).to_contain_text("checks", timeout=30_000)
    # Not as a script element, which the page's own rules forbid.
    shown.evaluate(AXE.read_text())
    found = shown.evaluate("axe.run()")
    problems = [f"{rule['id']}: {[node['html'][:200] for node in rule['nodes']]}" for rule in found["violations"]]
    assert problems == []


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_shows_it_without_scrolling_sideways(open_page: Open, path: str) -> None:
    shown = open_page(path, viewport={"width": 360, "height": 740})
    shown.wait_for_timeout(300)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_stays_where_it_is_when_something_moves(open_page: Open, filled: Store, story: str) -> None:
    shown = open_page("/")
    shown.get_by_role("button", name="Look at GitHub now").focus()
    runs.change_state(filled, story, RunState.verifying)
    expect(shown.locator(".pill", has_text="verifying")).to_be_visible(timeout=10_000)
    assert shown.evaluate("document.activeElement.textContent") == "Look at GitHub now"


def test_dark_and_light_differ(open_page: Open) -> None:
    grounds = [
        open_page("/", color_scheme=look).evaluate("getComputedStyle(document.documentElement).backgroundColor")
        for look in ("light", "dark")
    ]
    assert grounds[0] != grounds[1]
