#!/usr/bin/python3 -I
"""Send an alert of failoverd to a topic of ntfy: ``ntfy.py https://ntfy.example.net/TOPIC``.

The token, if the topic needs one, is the systemd credential ntfy-token.
"""

import json
import os
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

#: ntfy's priorities, 5 the highest: https://docs.ntfy.sh/publish/#message-priority
PRIORITIES = {"critical": 5, "error": 4, "warning": 3, "info": 2}

TIMEOUT_S = 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: urllib would follow it without the message, and take the answer for success."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


def text(alert: dict) -> str:
    """The message."""
    lines = [alert["text"], *alert["remedy"]]
    if alert["end"]:
        lines = [f"Over since {alert['end']}: {alert['text']}"]
    if alert["left_out"]:
        lines.append(f"{alert['left_out']} alerts before this one were left out; see: failoverctl status")
    return "\n".join(lines)


def request(alert: dict, url: str, token: str) -> urllib.request.Request:
    """The request that publishes it."""
    server, _, topic = url.rpartition("/")
    about = f"{alert['instance']} on {alert['node']}" if alert["instance"] else alert["node"]
    body = {
        "topic": topic,
        "title": f"{about}: {alert['title']}",
        "message": text(alert),
        "priority": 2 if alert["end"] else PRIORITIES[alert["severity"]],
        "tags": ["white_check_mark" if alert["end"] else "rotating_light"],
    }
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return urllib.request.Request(f"{server}/", json.dumps(body).encode(), headers, method="POST")


def main(words: list[str]) -> None:
    """Exit status: 0 if the server has accepted it."""
    if len(words) != 1 or not words[0].startswith(("http://", "https://")):
        sys.exit("usage: ntfy.py https://SERVER/TOPIC")
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), "ntfy-token")
    try:
        token = file.read_text(encoding="ascii").strip() if file.exists() else ""
        asked = request(json.load(sys.stdin), words[0], token)
        urllib.request.build_opener(_NoRedirect).open(asked, timeout=TIMEOUT_S).close()
    except (OSError, HTTPException) as error:
        sys.exit(f"ntfy.py: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
