#!/usr/bin/python3 -I
"""Send an alert of failoverd to a room of Matrix: ``matrix.py https://matrix.example.net '!room:example.net'``.

The access token of the user who writes there is the systemd credential matrix-token.
"""

import json
import os
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

TIMEOUT_S = 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: urllib would follow it without the message, and take the answer for success."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


def text(alert: dict) -> str:
    """The message."""
    about = f"{alert['instance']} on {alert['node']}" if alert["instance"] else alert["node"]
    if alert["end"]:
        lines = [f"over: {about}: {alert['title']}", f"since {alert['end']}; it began at {alert['begin']}"]
    else:
        lines = [f"{alert['severity']}: {about}: {alert['title']}", alert["text"], *alert["remedy"]]
    if alert["left_out"]:
        lines.append(f"{alert['left_out']} alerts before this one were left out; see: failoverctl status")
    return "\n".join(lines)


def request(alert: dict, server: str, room: str, token: str) -> urllib.request.Request:
    """The request that sends it; the server drops a second one with the same number."""
    number = quote(f"failoverd-{alert['node']}-{alert['id']}", safe="")
    url = f"{server}/_matrix/client/v3/rooms/{quote(room, safe='')}/send/m.room.message/{number}"
    body = json.dumps({"msgtype": "m.text", "body": text(alert)}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return urllib.request.Request(url, body, headers, method="PUT")


def main(words: list[str]) -> None:
    """Exit status: 0 if the server has accepted it."""
    match words:
        case [server, room] if server.startswith(("http://", "https://")):
            pass
        case _:
            sys.exit("usage: matrix.py https://SERVER '!ROOM:SERVER'")
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), "matrix-token")
    try:
        token = file.read_text(encoding="ascii").strip()
        asked = request(json.load(sys.stdin), server.rstrip("/"), room, token)
        urllib.request.build_opener(_NoRedirect).open(asked, timeout=TIMEOUT_S).close()
    except (OSError, HTTPException) as error:
        sys.exit(f"matrix.py: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
