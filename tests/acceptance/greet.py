"""A second project, which the demo does not know: a shell script with a test script, and one issue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.acceptance.looking import Looker, git, wait_for

CI = "sh tests/run.sh"
TITLE = "Greet the world when no name is given"
BODY = "`sh greet.sh` prints `Hello, !`. Without a name it should greet the world.\n"
FILES = {
    "README.md": "# greet\n\n`sh greet.sh NAME` greets NAME.\n",
    "greet.sh": '#!/bin/sh\n# Greets whoever is named.\necho "Hello, $1!"\n',
    "tests/run.sh": (
        "#!/bin/sh\n# Every case in tests/cases: words, a line with =>, what is printed.\nset -eu\n"
        'cd "$(dirname "$0")/.."\nfailed=0\n'
        "while IFS='|' read -r words wanted; do\n"
        '  got=$(sh greet.sh $words)\n'
        '  [ "$got" = "$wanted" ] || { echo "greet.sh $words: $got, not $wanted"; failed=1; }\n'
        "done <tests/cases\n[ $failed = 0 ] && echo all cases pass\nexit $failed\n"
    ),
    "tests/cases": "Ada|Hello, Ada!\n",
}  # fmt: skip
EDIT = "sed -i 's/\\$1/${1:-world}/' greet.sh && echo '|Hello, world!' >>tests/cases && sh tests/run.sh && sh greet.sh"
PROPOSE = (
    f"git commit -q -a -m '{TITLE}' && echo 'Without a name the world is greeted; tested.' >/tmp/body.md && "
    f"emit pull --title '{TITLE}' --body-file /tmp/body.md && git status --short && echo proposed"
)
VERDICT = '```json\n{"verdict": "approve", "summary": "One default, one case.", "findings": [], "not_read": []}\n```'
DEV, REVIEWER = "You are the developer of", "You are the reviewer of"


def make(folder: Path) -> Path:
    """The project as a git repository with one commit."""
    repo = folder / "greet"
    for path, text in FILES.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text(text, encoding="utf-8")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "Begin greet")
    return repo


def approve_what_waits(look: Looker) -> int:
    """As the person: approve every open pull request of the ops repo; how many there were."""
    waiting = [p for p in look.pulls(look.ops) if p["state"] == "open"]
    for pull in waiting:
        told = {"event": "APPROVED", "commit_id": pull["head"]["sha"], "body": "yes"}
        look.post(f"/repos/{look.ops}/pulls/{pull['number']}/reviews", told)
    return len(waiting)


def wait_until_merged(look: Looker, number: int, seconds: float) -> dict[str, Any]:
    """The pull request of issue ``number``, once the issue is closed."""

    def merged() -> dict[str, Any] | None:
        issue = look.get(f"/repos/{look.project}/issues/{number}")
        assert "blocked" not in {label["name"] for label in issue["labels"]}, look.comments(number)
        pulls = look.pulls()
        return pulls[0] if issue["state"] == "closed" and pulls and pulls[0]["merged"] else None

    found = wait_for(f"issue #{number} is closed by a merge", merged, seconds)
    assert isinstance(found, dict)
    return found


def assert_all_of_it_happened(look: Looker, pull: dict[str, Any], number: int) -> None:
    """Merged with CI on that head, a review of that head by another account, runs in the journal, a row on the page."""
    head, merge = pull["head"]["sha"], pull["merge_commit_sha"]
    assert re.search(rf"(?mi)^(closes|fixes) #{number}\b", pull["body"])
    assert look.states(head) == ["success"]
    (review,) = look.reviews(pull["number"])
    assert (review["state"], review["commit_id"]) == ("APPROVED", head)
    assert review["user"]["login"] != pull["user"]["login"]

    main = look.clone(look.project)
    assert git(main, "log", "-1", "--format=%H %P", "origin/main").split()[::2] == [merge, head]
    (author,) = set(git(main, "log", "--format=%an", f"{merge}^1..{head}").splitlines())
    assert author == pull["user"]["login"]
    wait_for("the new tip of main is judged", lambda: look.states(merge) == ["success"], 60)

    ops = look.clone(look.ops)

    def told() -> tuple[list[dict[str, Any]], str]:
        git(ops, "fetch", "-q", "origin")
        files = git(ops, "ls-tree", "-r", "--name-only", "origin/journal").splitlines()
        assert all(re.fullmatch(r"runs/\d{4}/\d\d/\d\d/[a-z0-9-]+-\d+\.jsonl", f) for f in files)
        lines = [x for f in files for x in git(ops, "show", f"origin/journal:{f}").splitlines()]
        return [json.loads(x) for x in lines], git(ops, "show", "origin/main:README.md")

    def runs() -> dict[str, set[str]]:
        ended: dict[str, set[str]] = {}
        for entry in told()[0]:
            if entry["kind"] == "finished":
                run = entry["data"]["run"]
                ended.setdefault(run["formula"], set()).add(f"{run['subject']['id']} {run['state']}")
        return ended

    wanted = {
        "dev": {f"{number} succeeded"},
        "review-pr": {f"{pull['number']} succeeded"},
    }
    judged = {f"{head} succeeded", f"{merge} succeeded"}

    def journaled() -> bool:
        told = runs()
        return wanted.items() <= told.items() and judged <= told.get("ci", set())

    wait_for("the journal has the runs", journaled, 60)

    link = f"{look.url}/{look.project}/pulls/{pull['number']}"
    wait_for("the page shows the merge", lambda: f"({link})" in told()[1] and "Nothing needs you" in told()[1], 60)
    assert pull["title"] in told()[1]
