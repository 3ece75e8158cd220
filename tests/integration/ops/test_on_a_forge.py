"""The ops repo on the embedded forge, with the accounts and rules of a real set-up: what the rules let through and what
the writer sends are the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.config.factory import load_factory, with_mode
from factory.config.model import DEFAULT_ACCOUNTS, Mode
from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient
from factory.forge.setup.apply import apply
from factory.forge.setup.observed import observe
from factory.forge.setup.plan import plan_setup
from factory.forge.values import RepoName, ReviewState
from factory.forge.wanted import wanted_setup
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, push
from factory.git.values import Signature
from factory.ops.controlled import Authority, People, approved, authority, history
from factory.ops.edit import Edit
from factory.ops.proposal import change, propose, requested_by
from factory.ops.routes import unprotected_patterns
from factory.ops.seed import Seed, seed
from factory.ops.writer import write
from factory.runs.append import append
from factory.runs.journal import Entry
from factory.testing.forge_process import ForgeProcess

OPS = RepoName("ada", "shop-ops")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MAIN = "refs/heads/main"
PASSWORD = "correct horse battery staple 1"


@dataclass
class Deployed:
    url: str
    tokens: dict[str, str]
    root: str
    folder: Path
    bot: Signature

    def remote(self, login: str = "factory-bot") -> Remote:
        return Remote(f"{self.url}/{OPS}.git", login, self.tokens[login])

    def client(self, login: str) -> ForgejoClient:
        if login == "ada":
            return ForgejoClient(self.url, basic=("ada", PASSWORD))
        return ForgejoClient(self.url, token=self.tokens[login])

    def mirror(self, name: str) -> Path:
        objects.init_bare(self.folder / name)
        return self.folder / name


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("ops-forge")
    bot = Signature("factory-bot", "factory-bot@factory.example", 1_800_000_000)
    with ForgeProcess.start(folder / "forge") as process:
        with ForgejoClient(process.url, uds=process.admin_socket) as admin:
            wanted = wanted_setup(
                RepoName("ada", "shop"),
                OPS,
                accounts=DEFAULT_ACCOUNTS,
                approvers=["ada"],
                direct_patterns=unprotected_patterns(),
                new_people=["ada"],
            )
            tokens: dict[str, str] = {}

            def keep(kind: str, login: str, secret: str) -> None:
                if kind == "token":
                    tokens[login] = secret

            first = wanted.without_protections()
            apply(admin, plan_setup(observe(admin, first), first), keep=keep)
            admin.set_password("ada", PASSWORD)
            mirror = folder / "seed.git"
            objects.init_bare(mirror)
            files = seed(Seed("ada/shop", Mode.SUGGEST, "ada", process.url, NOW))
            root = objects.build_commit(
                mirror, parent=None, changes=dict(files), message="Seed", author=bot, committer=bot
            )
            made = Deployed(process.url, tokens, root, folder, bot)
            there = admin.ls_refs(OPS, ("refs/heads/",)).get(MAIN)
            push(mirror, made.remote(), [RefUpdate(MAIN, root, there)])
            apply(admin, plan_setup(observe(admin, wanted, tokens=tokens), wanted), keep=keep)
        yield made


def append_line(path: str, line: bytes) -> Edit:
    return Edit(path, lambda old: (old or b"") + line)


def test_many_writers_over_http_lose_nothing(deployed: Deployed) -> None:
    mirrors = [deployed.mirror(f"many{host}.git") for host in range(4)]

    def one(number: int) -> str | None:
        edit = append_line("knowledge/many.md", b"line\n")
        return write(deployed.remote(), mirrors[number % 4], [edit], message="Add", author=deployed.bot).commit

    with ThreadPoolExecutor(16) as pool:
        commits = list(pool.map(one, range(16)))
    assert len(set(commits)) == 16
    write(deployed.remote(), mirrors[0], [append_line("diary/x.md", b"")], message="Look", author=deployed.bot)
    tip = objects.read_ref(mirrors[0], MAIN)
    assert objects.read_file(mirrors[0], str(tip), "knowledge/many.md") == b"line\n" * 16


@pytest.mark.parametrize(
    "path", ["factory.toml", "vault/actions/x.toml", "formulas/x.toml", "VISION.md", "knowledge2/x"]
)
def test_the_forge_refuses_what_the_writer_would_not_send(path: str, deployed: Deployed) -> None:
    mirror = deployed.mirror(f"{path.replace('/', '-')}.git")
    write(deployed.remote(), mirror, [append_line("diary/x.md", path.encode())], message="m", author=deployed.bot)
    tip = objects.read_ref(mirror, MAIN)
    for changes in ({path: b"evil"}, {path: b"evil", "README.md": b"x"}):
        bad = objects.build_commit(
            mirror, parent=tip, changes=dict(changes), message="m", author=deployed.bot, committer=deployed.bot
        )
        with pytest.raises(ForgeRefused):
            push(mirror, deployed.remote(), [RefUpdate(MAIN, bad, tip)])


def test_the_journal_is_the_factorys_alone(deployed: Deployed) -> None:
    entry = Entry("note", NOW, "h1", {"x": 1})
    done = append(deployed.remote(), deployed.mirror("journal.git"), [entry], host="h1", now=NOW, author=deployed.bot)
    assert done.attempts == 1
    with pytest.raises(ForgeRefused):
        append(
            deployed.remote("vault-bot"), deployed.mirror("other.git"), [entry], host="h2", now=NOW, author=deployed.bot
        )


def people_at(mirror: Path, commit: str) -> People:
    config = load_factory(objects.read_file(mirror, commit, "factory.toml") or b"")
    return People(config.approvers, config.admins)


def test_a_solo_founder_changes_the_mode_with_one_approval(deployed: Deployed) -> None:
    mirror = deployed.mirror("founder.git")
    flip = Edit("factory.toml", lambda old: with_mode((old or b"").decode(), Mode.MERGE).encode())
    both = change(
        deployed.remote(),
        mirror,
        [flip, append_line("diary/2026-11-21.md", b"mode\n")],
        message="Let it merge",
        author=deployed.bot,
        slug="mode merge",
        requested_by="ada",
    )
    assert both.written is not None
    assert both.proposal is not None
    with deployed.client("factory-bot") as bot, deployed.client("ada") as ada:
        pull = bot.create_pull(
            OPS, head=both.proposal.branch, base="main", title=both.proposal.title, body=both.proposal.body
        )
        assert requested_by(pull.body) == "ada"
        with pytest.raises(ForgeRefused):
            bot.merge(OPS, pull.number, head=pull.head_sha, title="t", message="")
        ada.review(OPS, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha)
        for number in range(3):
            edit = append_line("README.md", b"%d\n" % number)
            write(deployed.remote(), mirror, [edit], message="Dashboard", author=deployed.bot)
        merge = bot.merge(OPS, pull.number, head=pull.head_sha, title="Let it merge", message="")
        write(deployed.remote(), mirror, [append_line("README.md", b"after\n")], message="m", author=deployed.bot)
        merged, reviews = bot.pull(OPS, pull.number), bot.reviews(OPS, pull.number)
    tip = objects.read_ref(mirror, MAIN)
    assert tip is not None
    chain = history(mirror, deployed.root, tip)
    pulls = [
        found
        for commit in chain.commits
        if commit.touched and (found := approved(mirror, merged, reviews, commit)) is not None
    ]
    start = Authority(deployed.root, deployed.root)
    bots = frozenset(DEFAULT_ACCOUNTS.values())
    answer = authority(start, chain, pulls, lambda commit: people_at(mirror, commit), bots)
    assert answer.problems == ()
    assert answer.commit == merge
    assert load_factory(objects.read_file(mirror, answer.commit, "factory.toml") or b"").mode is Mode.MERGE
    without = authority(start, chain, [], lambda commit: people_at(mirror, commit), bots)
    assert without.commit == deployed.root


def test_a_proposal_is_pushed_where_main_is_closed(deployed: Deployed) -> None:
    mirror = deployed.mirror("proposal.git")
    made = propose(
        deployed.remote(),
        mirror,
        [Edit("VISION.md", lambda old: b"# Ours\n")],
        slug="vision",
        title="Say where to",
        author=deployed.bot,
        requested_by="ada",
    )
    assert made is not None
    with deployed.client("factory-bot") as bot:
        assert bot.ls_refs(OPS, ("refs/heads/edit/",))[f"refs/heads/{made.branch}"] == made.commit
