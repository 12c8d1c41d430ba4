#!/usr/bin/python3 -I
"""Send an alert of failoverd by e-mail, through this machine's sendmail: ``mail.py ADDRESS…``."""

import json
import os
import subprocess
import sys
from email.message import EmailMessage

SENDMAIL = os.environ.get("SENDMAIL", "/usr/sbin/sendmail")


def mail(alert: dict, addresses: list[str]) -> EmailMessage:
    """The message. Each attempt to send it has the same Message-ID, so that a mailbox can drop the second."""
    state = "over" if alert["end"] else alert["severity"]
    about = f"{alert['instance']} on {alert['node']}" if alert["instance"] else alert["node"]
    lines = [alert["text"], "", f"Began: {alert['begin']}", f"Over:  {alert['end'] or 'not yet'}", ""]
    lines += [alert["explanation"], ""]
    lines += [f"    {command}" for command in alert["remedy"]]
    if alert["left_out"]:
        lines += ["", f"{alert['left_out']} alerts before this one were left out; see: failoverctl status"]
    message = EmailMessage()
    message["To"] = ", ".join(addresses)
    message["Subject"] = " ".join(f"[{state}] {about}: {alert['title']}".split())
    message["Message-ID"] = f"<{alert['id']}.failoverd@{alert['node']}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines) + "\n")
    return message


def main(addresses: list[str]) -> int:
    """Exit status: that of sendmail."""
    if not addresses:
        sys.exit("usage: mail.py ADDRESS…")
    message = mail(json.load(sys.stdin), addresses)
    return subprocess.run([SENDMAIL, "-i", "-t"], input=bytes(message), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
