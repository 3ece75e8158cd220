"""The pages in a real browser: the founder's way through them, on a desk and on a phone, and hostile content that must
not come alive."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote

import pytest

World = Any
pytestmark = pytest.mark.needs_chromium
PHONE, DESK = (390, 844), (1200, 900)


def sign_in(browser: Any, world: World, who: str) -> None:
    world.token(who)
    browser.go(f"{world.url}/")
    if "Sign out" in browser.evaluate("document.body.textContent"):
        browser.press(".me summary")
        browser.click("button", "Sign out")
    browser.go(f"{world.url}/user/login")
    browser.fill("[name=login]", who)
    browser.fill("[name=password]", "correct-horse-1")
    browser.click("main button", "Sign in")
    assert "Sign out" in browser.evaluate("document.body.textContent")


def test_from_an_issue_to_a_merge(world: World, browser: Any, stage: Any) -> None:
    repo, number = stage(world)
    sign_in(browser, world, "rita")
    browser.go(f"{world.url}/{repo}/issues")
    browser.click("a", "New issue")
    browser.fill("[name=title]", "Written by hand")
    browser.fill("[name=body]", "- [ ] a box")
    browser.press("label", "priority")
    browser.click("button", "File issue")
    assert "☐ a box" in browser.text
    made = world.ok("ann", "GET", f"/repos/{repo}/issues", q="Written by hand")[0]
    assert (made["user"]["login"], [one["name"] for one in made["labels"]]) == ("rita", ["priority"])

    browser.click("nav a", "Pull requests")
    browser.click("a.title", "Say two")
    assert browser.path == f"/{repo}/pulls/{number}"
    browser.click("nav a", "Changes")
    rows = browser.evaluate("[...document.querySelectorAll('tr.del, tr.add')].map(r => r.innerText.trim())")
    assert [re.sub(r"\s+", " ", row) for row in rows] == ["1 − one", "1 + two"]
    colours = browser.evaluate(
        "['del', 'add'].map(k => getComputedStyle(document.querySelector(`tr.${k} td:last-child`)).backgroundColor)"
    )
    assert len(set(colours)) == 2

    browser.click("nav a", "Conversation")
    browser.click("#merge button", "Merge")
    assert "not allowed to merge [reason: Does not have enough approvals]" in browser.text
    assert not world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")["merged"]
    browser.fill("#review textarea", "Reads well.")
    browser.click("button", "Approve")
    assert "Ready to be merged." in browser.text
    browser.click("#merge button", "Merge")
    assert "Merged as" in browser.text
    found = world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")
    assert (found["merged"], found["merged_by"]["login"]) == (True, "rita")
    (review,) = world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}/reviews")
    assert (review["state"], review["body"], review["commit_id"]) == ("APPROVED", "Reads well.", found["head"]["sha"])


SCRIPT = "<script>document.title='owned'</script>"
HANDLER = (
    "\"'><img src=/avatars/1 onload=\"document.title='owned'\" onerror=\"document.title='owned'\">"
    "<svg onload=document.title='owned'>"
)
LINK = "[click](javascript:document.title='owned') <a href=\"javascript:document.title='owned'\">click</a>"
HOSTILE = f'{SCRIPT}{HANDLER} {LINK} <iframe srcdoc="{SCRIPT}"></iframe><meta http-equiv=refresh content=0;url=/x>'
_BOX = HANDLER.replace('"', "") + SCRIPT
MERMAID = f'```mermaid\ngraph TD\n A["{_BOX}"] -->|{SCRIPT}| B\n click A "javascript:1"\n```\n'


@pytest.fixture
def hostile(world: World) -> list[str]:
    """Every place that takes somebody's words, filled with what would run if it were let; returns the pages."""
    repo = world.repo(mallory="write")
    api = f"/repos/{repo}"

    def put(path: str, text: str, **more: str) -> Any:
        body = {"content": base64.b64encode(text.encode()).decode(), "message": HOSTILE, **more}
        return world.ok("mallory", "POST", f"{api}/contents/{quote(path)}", body)

    world.ok("ann", "PATCH", api, {"description": HOSTILE})
    label = world.ok("ann", "POST", f"{api}/labels", {"name": HANDLER[:50], "color": "#123456", "description": HOSTILE})
    put("docs/README.md", f"# {HOSTILE}\n\n{MERMAID}\n| {HANDLER} |\n|--|\n| {SCRIPT} |\n\n![x]({HANDLER})\n")
    put("evil.svg", f'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'owned\'">{SCRIPT}</svg>')
    put("evil.html", SCRIPT)
    put("x'><img src=x onerror=document.title=1>.md", HOSTILE)
    branch = "b\"'><img/src=x/onerror=document.title='owned'>"
    made = put("new.txt", f"{SCRIPT}\n{HANDLER}\n", new_branch=branch)
    sha = made["commit"]["sha"]
    filed = {"title": HOSTILE[:250], "body": HOSTILE + MERMAID, "labels": [label["id"]]}
    issue = world.ok("mallory", "POST", f"{api}/issues", filed)
    world.ok("mallory", "POST", f"{api}/issues/{issue['number']}/comments", {"body": HOSTILE})
    world.ok("mallory", "PATCH", f"{api}/issues/{issue['number']}", {"title": SCRIPT + HANDLER})
    opened = {"head": branch, "base": "main", "title": HANDLER, "body": HOSTILE}
    pull = world.ok("mallory", "POST", f"{api}/pulls", opened)
    leads = "javascript:document.title='owned'"
    body = {"state": "success", "context": HANDLER, "description": SCRIPT, "target_url": leads}
    world.call("mallory", "POST", f"{api}/statuses/{sha}", body)
    notes = [{"path": "new.txt", "body": HOSTILE, "new_position": 1}]
    review = {"event": "COMMENT", "body": HOSTILE, "comments": notes}
    world.ok("mallory", "POST", f"{api}/pulls/{pull['number']}/reviews", review)
    rule = {"rule_name": HANDLER[:60], "status_check_contexts": [HANDLER], "enable_status_check": True,
            "protected_file_patterns": SCRIPT}  # fmt: skip
    world.call("ann", "POST", f"{api}/branch_protections", rule)
    number, name = pull["number"], quote(branch)
    return [f"/{repo}{rest}" for rest in (
        "", "/src/branch/main/docs", "/src/branch/main/docs/README.md?source=1", "/src/branch/main/evil.svg",
        "/raw/branch/main/evil.svg", "/raw/branch/main/evil.html", f"/src/branch/{name}", f"/commits/branch/{name}",
        "/src/branch/main/" + quote("x'><img src=x onerror=document.title=1>.md"), f"/commit/{sha}", "/branches",
        f"/compare?base=main&head={name}", "/issues", f"/issues?q={quote(HANDLER)}&label={quote(HANDLER)}",
        f"/issues/{issue['number']}", f"/issues/{issue['number']}/edit",
        f"/issues/new?title={quote(HANDLER)}&body={quote(HOSTILE)}",
        "/pulls", f"/pulls/{number}", f"/pulls/{number}/files", f"/pulls/{number}/commits", "/labels",
        "/settings/branches",
        f"/nowhere/{quote(HANDLER)}",
    )] + ["/", "/ann", f"/user/login?next={quote(HANDLER)}"]  # fmt: skip


_ALIVE = """(() => {
  const all = [...document.querySelectorAll('*')];
  const leads = e => ['href', 'src', 'action', 'formaction'].map(name => e.getAttribute(name) || '');
  return {title: document.title, path: location.pathname,
    bad: all.filter(e => e.matches('script, iframe, object, embed, meta[http-equiv], base')).length,
    handlers: all.filter(e => [...e.attributes].some(a => /^on/i.test(a.name))).length,
    links: all.flatMap(leads).filter(where => /^\\s*(javascript|vbscript|data:text)/i.test(where))} })()"""


@pytest.mark.parametrize("policy", [True, False])
def test_hostile_content_does_not_come_alive(world: World, browser: Any, hostile: list[str], policy: bool) -> None:
    """With the content policy, and with it switched off in the browser: on pages each of the two walls holds alone. A
    picture served as it is has only the policy's sandbox, and does run without it."""
    sign_in(browser, world, "ann")
    browser.bypass_policy(not policy)
    try:
        for page in hostile:
            browser.go(world.url + page)
            found = browser.evaluate(_ALIVE)
            if "/raw/" not in page:
                assert (found["bad"], found["handlers"], found["links"]) == (0, 0, []), page
            alone = page.endswith("/raw/branch/main/evil.svg") and not policy
            assert (found["title"] == "owned") == alone, page
            assert found["path"] == re.sub(r"\?.*", "", page) or page.startswith("/user/login"), page
            outside = [
                event["params"]["request"]["url"]
                for event in browser.events
                if event["method"] == "Network.requestWillBeSent"
                and not event["params"]["request"]["url"].startswith((world.url, "data:image/svg"))
            ]
            assert not outside, page
    finally:
        browser.bypass_policy(False)


def test_the_test_would_see_a_script(browser: Any) -> None:
    browser.go(f"data:text/html,{quote(SCRIPT)}")
    assert browser.evaluate("document.title") == "owned"


def test_the_policy_alone_stops_what_slips_through(world: World, browser: Any) -> None:
    """An element with a handler put into the page by the debugger does not run; without the policy it does."""
    inject = """new Promise(done => { document.title = 'quiet'; const box = document.createElement('div');
        document.body.append(box); box.innerHTML = `<img src="/avatars/1" onload="document.title='owned'">`;
        box.firstChild.addEventListener('load', () => setTimeout(() => done(document.title), 20)) })"""
    world.token("ann")
    for bypass, title in ((False, "quiet"), (True, "owned")):
        browser.bypass_policy(bypass)
        browser.go(f"{world.url}/")
        try:
            assert browser.evaluate(inject) == title
        finally:
            browser.bypass_policy(False)


def test_nothing_is_wider_than_a_phone(world: World, browser: Any, stage: Any, hostile: list[str]) -> None:
    repo, number = stage(world)
    sign_in(browser, world, "ann")
    browser.size(*PHONE)
    try:
        for page in ("/", f"/{repo}", f"/{repo}/issues", f"/{repo}/issues/1", f"/{repo}/pulls/{number}",
                     f"/{repo}/pulls/{number}/files", f"/{repo}/settings/branches", *hostile[:20]):  # fmt: skip
            if "/raw/" in page:
                continue
            browser.go(world.url + page)
            assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE[0], page
    finally:
        browser.size(*DESK)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_and_fields_have_names(world: World, browser: Any, stage: Any, dark: bool) -> None:
    """Contrast of at least 4.5 to 1 for every text, a name for every field, one main heading at least."""
    repo, number = stage(world, contexts=("factory/ci",))
    world.ok("rita", "POST", f"/repos/{repo}/pulls/{number}/reviews", {"event": "REQUEST_CHANGES", "body": "`No`"})
    sign_in(browser, world, "ann")
    browser.scheme(dark=dark)
    try:
        for page in ("/", f"/{repo}", f"/{repo}/issues/new", f"/{repo}/issues/1", f"/{repo}/pulls/{number}",
                     "/user/change_password", f"/{repo}/pulls/{number}/files", f"/{repo}/settings/branches",
                     "/nowhere/at/all"):  # fmt: skip
            browser.go(world.url + page)
            assert browser.evaluate(_FAINT) == [], (page, dark)
            assert browser.evaluate(_NAMELESS) == [], page
            assert browser.evaluate("document.querySelectorAll('h1').length") >= 1, page
    finally:
        browser.scheme(dark=False)


_NAMELESS = """[...document.querySelectorAll('input:not([type=hidden]), textarea, select')].filter(e =>
  !e.labels?.length && !e.getAttribute('aria-label') && e.getAttribute('aria-hidden') !== 'true')
  .map(e => e.outerHTML)"""
_FAINT = """(() => {
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { context.clearRect(0, 0, 1, 1); context.fillStyle = c; context.fillRect(0, 0, 1, 1);
                      return [...context.getImageData(0, 0, 1, 1).data] };
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
                        if (c[3] === 255) return c } return [255, 255, 255] };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility({visibilityProperty: true}) || e.closest('svg')) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) faint.push(walker.currentNode.data.trim() + ' ' + ratio.toFixed(2));
  }
  return faint })()"""
