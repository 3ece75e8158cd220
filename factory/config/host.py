"""``$FACTORY_HOME/state/host.toml``: what belongs to one machine. No secret stands in it, only where its file is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from factory.config.home import write_private
from factory.config.model import BackendHost, ChannelHost, HostConfig, LedgerMirror
from factory.config.shape import Findings, Shape, refused, shaped, table, texts
from factory.config.source import Document, read
from factory.errors import ConfigInvalid, Problem

Port = Annotated[int, Field(ge=0, le=65_535)]
Slots = Annotated[int, Field(ge=1, le=200)]
Price = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
ADDRESS = r"^https?://[^\s/@?#]+(?:/[^\s?#]*)?$"
"""Of a server: without user, query or fragment."""
Url = Annotated[str, Field(pattern=ADDRESS)]
RepoText = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")]
FileText = Annotated[str, Field(pattern=r"^[^\x00]{1,1000}$")]
CHAT = r"^(?:-?[0-9]{1,20}|@[A-Za-z0-9_]{4,32})$"
"""How Telegram names a chat."""
NAME = r"^[a-z0-9-]{1,40}$"
"""Of an agent or a channel, as people choose it."""
Name = Annotated[str, Field(pattern=NAME)]
_ADDRESS = re.compile(
    r"https?://[^\s/@?#]+/[^\s@?#]+"
    r"|ssh://(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9.\[\]:-]+/[^\s@?#]+"
    r"|(?:[A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:/?[^\s@:/][^\s@:]*"
    r"|/[^\x00-\x1f\x7f]+"
)


class ForgeShape(Shape):
    """[forge]: where the forge is."""

    url: Url
    """address of the forge, without user, query or fragment: "http://127.0.0.1:3000" """
    embedded: bool = False
    """true: the factory runs the embedded forge here"""
    port: Port | None = None
    """port of the embedded forge"""


class WebShape(Shape):
    """[web]: the operator pages."""

    port: Port
    """port of the operator pages on loopback; 0: any free one"""


class BackendShape(Shape):
    """[backends.<name>]: how this host reaches the model of an agent."""

    kind: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    """kind of backend: native, claude-code, ..."""
    model: Annotated[str, Field(max_length=200)] = ""
    """model it asks for"""
    roles: list[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]] = Field(default_factory=list)
    """roles it was hired for, in force here until factory.toml names the agent"""
    url: Url | None = None
    """where the model answers"""
    key_file: FileText | None = None
    """file that holds the key; relative to the state folder"""
    auth: Literal["gateway", "ambient", "none"] = "gateway"
    """who holds the login: the gateway, the program itself (ambient), nobody"""
    slots: Slots = 1
    """sessions on it at the same time"""
    replay: FileText | None = None
    """recording to play instead of a model; relative to the state folder"""
    price_input: Price | None = None
    """USD per million input tokens"""
    price_output: Price | None = None
    """USD per million output tokens"""
    path: Annotated[str, Field(pattern=r"^/[^\x00]{0,4000}$")] | None = None
    """folders where its program is looked for before PATH, separated by colons"""


class VaultShape(Shape):
    """[vault]: a copy of the vault's ledger on another machine."""

    ledger_mirror: Annotated[str, Field(max_length=1000)]
    """git repo that the ledger is copied to: ssh, https, or an absolute path; no password in it"""
    mirror_login: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{0,100}$")] = ""
    """name to log in with over http(s)"""
    mirror_token_file: FileText | None = None
    """file that holds the token for http(s); relative to the state folder"""


class ChannelShape(Shape):
    """[notify.<name>]: one way to tell people outside the forge that something needs them."""

    kind: Literal["ntfy", "slack", "mattermost", "telegram"]
    """what is written to: an ntfy topic, an incoming webhook of Slack or Mattermost, a Telegram bot's chat"""
    secret_file: FileText
    """file that holds the address or the token, which lets one write there; relative to the state folder"""
    chat: Annotated[str, Field(pattern=CHAT)] = ""
    """Telegram: the chat's number, or @name of a public channel"""
    api: Url | None = None
    """Telegram: a Bot API server of yours instead of Telegram's"""


class HostShape(Shape):
    """state/host.toml of one machine."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    """version of this file's form"""
    host: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
    """this machine's name among the factory's hosts: lower-case letters, digits, dashes"""
    sandbox: Literal["bubblewrap", "podman", "docker", "none"] = "bubblewrap"
    """how sessions are confined; podman and docker are not built yet; none only by name, with a warning each time"""
    slots: Slots = 2
    """sessions at the same time"""
    ops_repos: list[RepoText] = Field(default_factory=list)
    """ops repos served: ["owner/name-ops"]"""
    tool_mounts: list[Annotated[str, Field(pattern=r"^/[^\x00]*$")]] = Field(default_factory=list)
    """absolute paths that sessions see read-only"""
    runs: Literal["all", "daemon", "vault", "nothing"] = "all"
    """what runs from this home: all; daemon: all but the vault; vault: that alone; nothing: it moved out"""
    forge: ForgeShape
    """[forge] with url"""
    web: WebShape = WebShape(port=0)
    vault: VaultShape | None = None
    notify: dict[Name, ChannelShape] = Field(default_factory=dict)
    backends: dict[Name, BackendShape] = Field(default_factory=dict)


ADDRESSES = "ssh://user@host/path, user@host:path, https://host/path or an absolute path, with no password in it"


def is_address(text: str) -> bool:
    """Whether it is the address of a git repo with no password and no query in it: such a one may be printed."""
    return _ADDRESS.fullmatch(text) is not None


def host_path(home: Path) -> Path:
    """Where host.toml stands."""
    return home / "state" / "host.toml"


def load_host(home: Path) -> HostConfig:
    """Read host.toml. Raises ConfigInvalid: nothing set up here, or all problems at once."""
    path = host_path(home)
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigInvalid(
            f"reading {path}: there is no factory here",
            hint="`factory demo` shows one; `factory init PATH` sets one up; FACTORY_HOME points to another",
        ) from error
    except OSError as error:
        hint = "run as the user that set the factory up"
        raise ConfigInvalid(f"reading {path}: {error.strerror}", hint=hint) from error
    return parse_host(text, str(path), home)


def parse_host(text: bytes, path: str, home: Path) -> HostConfig:
    """The content of a host.toml as a value. Raises ConfigInvalid with all problems at once."""
    shape, problems = shaped(read(text, path), HostShape, _judged)
    if shape is None:
        raise refused(path, problems)
    return _valid(home, shape)


def write_host(config: HostConfig) -> None:
    """Write host.toml (0600, whole or not at all); comments and order of an existing one stay. Raises ConfigInvalid."""
    import tomlkit  # only who writes needs it
    from tomlkit.exceptions import TOMLKitError

    path = host_path(config.home)
    document = tomlkit.document()
    if path.exists():
        try:
            document = tomlkit.parse(path.read_text(encoding="utf-8"))
        except (TOMLKitError, UnicodeDecodeError):
            load_host(config.home)  # says what is wrong and where; nothing is overwritten
            raise
    else:
        document.add(tomlkit.comment("This machine's part of the factory. What all machines share is in the ops repo."))
    _merge(document, _plain(config))
    write_private(path, tomlkit.dumps(document).encode())


def _judged(document: Document) -> list[Problem]:
    found = Findings(document)
    forge = table(document.data, "forge")
    if forge.get("embedded") is True and "port" not in forge:
        found.add(("forge",), "forge.port is missing; the embedded forge needs one", "for example port = 3000")
    repos = texts(document.data, "ops_repos")
    for index, repo in repos:
        if repo in [other for _, other in repos[:index]]:
            found.add(("ops_repos", index), f'ops_repos[{index}] repeats "{repo[:100]}"', "name it once")
    vault = table(document.data, "vault")
    address = vault.get("ledger_mirror")
    if isinstance(address, str) and not is_address(address):  # not shown: there may be a password in it
        found.add(("vault", "ledger_mirror"), "vault.ledger_mirror is not a repo address it may be", ADDRESSES)
    if "mirror_token_file" in vault and not str(vault.get("ledger_mirror", "")).startswith("http"):
        said = "vault.mirror_token_file is for a mirror over http(s); over ssh this user's own key counts"
        found.add(("vault", "mirror_token_file"), said, "take it out")
    for name in table(document.data, "notify"):
        _channel(found, name, table(document.data, "notify", name))
    return found.problems


def _channel(found: Findings, name: str, channel: dict[str, Any]) -> None:
    if channel.get("kind") == "telegram" and not channel.get("chat"):
        said = f"notify.{name}.chat is missing; a bot has to know whom to write to"
        found.add(("notify", name), said, "for example chat = \"123456789\"")
    for key in ("chat", "api"):
        if key in channel and channel.get("kind") in ("ntfy", "slack", "mattermost"):
            found.add(("notify", name, key), f"notify.{name}.{key} is for Telegram only", "take it out")


def _valid(home: Path, shape: HostShape) -> HostConfig:
    state = home / "state"

    def backend(b: BackendShape) -> BackendHost:
        return BackendHost(
            kind=b.kind,
            model=b.model,
            roles=frozenset(b.roles),
            url=b.url,
            key_file=state / b.key_file if b.key_file else None,
            auth=b.auth,
            slots=b.slots,
            replay=state / b.replay if b.replay else None,
            price_input=b.price_input,
            price_output=b.price_output,
            path=b.path,
        )

    return HostConfig(
        home=home,
        host=shape.host,
        forge_url=shape.forge.url,
        embedded=shape.forge.embedded,
        forge_port=shape.forge.port,
        web_port=shape.web.port,
        ops_repos=tuple(shape.ops_repos),
        sandbox=shape.sandbox,
        backends={name: backend(b) for name, b in shape.backends.items()},
        tool_mounts=tuple(shape.tool_mounts),
        slots=shape.slots,
        ledger_mirror=_mirror(state, shape.vault),
        channels={
            name: ChannelHost(c.kind, state / c.secret_file, c.chat, c.api or "") for name, c in shape.notify.items()
        },
        runs=shape.runs,
    )


def _mirror(state: Path, shape: VaultShape | None) -> LedgerMirror | None:
    if shape is None:
        return None
    file = state / shape.mirror_token_file if shape.mirror_token_file else None
    return LedgerMirror(shape.ledger_mirror, shape.mirror_login, file)


def _plain(config: HostConfig) -> dict[str, Any]:
    """The file's content. None stands for "not in the file"."""

    def inside(path: Path | None) -> str | None:
        if path is None:
            return None
        return str(path.relative_to(config.state) if path.is_relative_to(config.state) else path)

    mirror = config.ledger_mirror
    return {
        "schema": 1,
        "host": config.host,
        "sandbox": config.sandbox,
        "slots": config.slots,
        "runs": None if config.runs == "all" else config.runs,
        "ops_repos": list(config.ops_repos),
        "tool_mounts": list(config.tool_mounts) or None,
        "forge": {"url": config.forge_url, "embedded": config.embedded, "port": config.forge_port},
        "web": {"port": config.web_port},
        "vault": None if mirror is None else {
            "ledger_mirror": mirror.url,
            "mirror_login": mirror.login or None,
            "mirror_token_file": inside(mirror.token_file),
        },
        "notify": {
            name: {
                "kind": c.kind, "secret_file": inside(c.secret_file), "chat": c.chat or None, "api": c.api or None,
            }
            for name, c in config.channels.items()
        } or None,
        "backends": {
            name: {
                "kind": b.kind,
                "model": b.model or None,
                "roles": sorted(b.roles) or None,
                "url": b.url,
                "key_file": inside(b.key_file),
                "auth": b.auth,
                "slots": b.slots,
                "replay": inside(b.replay),
                "price_input": b.price_input,
                "price_output": b.price_output,
                "path": b.path,
            }
            for name, b in config.backends.items()
        },
    }


_NAMED = ("backends", "notify")
"""Tables of tables, by names that people choose."""


def _merge(table: Any, wanted: dict[str, Any]) -> None:
    """Make the table hold what is wanted, touching only what differs. Backends and channels not wanted any more go."""
    import tomlkit

    for key, value in wanted.items():
        if value is None:
            if key in table:
                del table[key]
        elif isinstance(value, dict):
            if key not in table:
                table[key] = tomlkit.table(is_super_table=key in _NAMED and bool(value))
            _merge(table[key], value)
            if key in _NAMED:
                for name in [n for n in table[key] if n not in value]:
                    del table[key][name]
        elif key not in table or table[key] != value or type(table[key]) is bool is not type(value):
            table[key] = value
