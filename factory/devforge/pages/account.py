"""Signing in and out, and the own password."""

from __future__ import annotations

from urllib.parse import urlencode

from factory.devforge.errors import Refusal
from factory.devforge.pages import sessions, view
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit, local, need_signed_in, redirect
from factory.devforge.store import users

_WRONG = "That name and password do not belong together."


def sign_in_first(visit: Visit) -> Response:
    """To the sign-in form, and back afterwards when it was only a page to look at."""
    back = visit.path if visit.method == "GET" else "/"
    return redirect("/user/login?" + urlencode({"next": back}))


@page("GET", "/user/login")
def form(visit: Visit) -> Response:
    """The form. A visitor without a cookie gets one, so that the form can carry its token."""
    if visit.viewer is not None:
        return redirect(local(visit.asked("next", "/")))
    return _form(visit, visit.asked("next", "/"))


def _form(visit: Visit, back: str, problem: str = "", status: int = 200) -> Response:
    headers = {}
    if not visit.secret:
        visit.secret = sessions.fresh_secret()
        headers["Set-Cookie"] = sessions.cookie(visit.store.root_url, visit.secret, age=3600)
    return view.render(
        visit,
        "sign_in.html",
        status=status,
        headers=headers,
        back=local(back),
        problem=problem,
        login=visit.sent("login"),
    )


@page("POST", "/user/login")
def sign_in(visit: Visit) -> Response:
    """A new session with a new secret. Wrong passwords are counted by the same doorkeeper as the API's."""
    back = local(visit.sent("next") or "/")
    try:
        user = visit.doorkeeper.by_password(visit.store, visit.sent("login").strip(), visit.sent("password"))
    except Refusal as slow:
        return _form(visit, back, slow.message[:1].upper() + slow.message[1:] + ".", slow.status)
    if user is None or user.is_org:
        return _form(visit, back, _WRONG, 403)
    secret = sessions.begin(visit.store, user)
    return redirect(back, {"Set-Cookie": sessions.cookie(visit.store.root_url, secret)})


@page("POST", "/user/logout")
def sign_out(visit: Visit) -> Response:
    """Ends the session on the server too."""
    sessions.end(visit.store, visit.secret)
    return redirect("/", {"Set-Cookie": sessions.cookie(visit.store.root_url, "", age=0)})


@page("GET", "/user/change_password", signed_in=True)
def password_form(visit: Visit) -> Response:
    return view.render(visit, "password.html", problem="")


@page("POST", "/user/change_password")
def change_password(visit: Visit) -> Response:
    """Asks for the old one; every other session of the account ends."""
    user = need_signed_in(visit)
    problem, status = "", 200
    try:
        if visit.doorkeeper.by_password(visit.store, user.login, visit.sent("old")) is None:
            problem, status = "The old password is not right.", 403
        elif visit.sent("new") != visit.sent("again"):
            problem, status = "The two new passwords differ.", 422
        else:
            digest = users.digest_password(visit.sent("new"))
    except Refusal as refusal:
        problem, status = refusal.message[:1].upper() + refusal.message[1:] + ".", refusal.status
    if problem:
        return view.render(visit, "password.html", status=status, problem=problem)
    with visit.store.tx():
        visit.store.update("users", user.id, password=digest, must_change_password=0)
        visit.store.run("DELETE FROM web_sessions WHERE user_id = ?", user.id)
        secret = sessions.begin(visit.store, users.by_id(visit.store, user.id))
    return redirect("/", {"Set-Cookie": sessions.cookie(visit.store.root_url, secret)})
