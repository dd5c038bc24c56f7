"""What the documents say of every message that has a code or a name, and what a catalogue of the journal has of it."""

import hashlib
import pathlib
import re

LOGGING = pathlib.Path("docs/logging.md").read_text()
ERRORS = pathlib.Path("docs/errors.md").read_text()


def documented():
    """Of each message, by its code or name: what it means and what is to be done, as far as anything is."""
    events = re.search(r"<!-- events: begin -->\n(.*?)<!-- events: end -->", LOGGING, re.DOTALL)[1]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|(.*?) \|$", events, re.MULTILINE)
    codes = re.findall(r"^### (AOC-\d{4}) (.+)\n\n(.+)\n\n\*\*Cure\.\*\* (.+)$", ERRORS, re.MULTILINE)
    told = {name: [meaning, *filter(None, [then.strip()])] for name, meaning, then in rows}
    return told | {code: [f"{title} ({code})", cause, f"Cure: {cure}"] for code, title, cause, cure in codes}


def how_many():
    """Events and codes, counted without looking at what stands beside them."""
    events = LOGGING.partition("<!-- events: begin -->")[2].partition("<!-- events: end -->")[0]
    return len(re.findall(r"^\| `", events, re.MULTILINE)) + ERRORS.count("\n### AOC-")


def message_id(name):
    """Written down once more, for it must never change: people keep what they look for."""
    digest = bytearray(hashlib.sha256(f"apono-connector message {name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def entries(text):
    """The entries of a catalogue, by the ids of their messages."""
    parts = re.split(r"^-- ([0-9a-f]{32})(?: \w+)?$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def is_explained(texts, shown):
    """Whether each of the texts is a line of what is shown, by `journalctl -x` with a mark before it."""
    lines = {re.sub(r"^(░░|--) ?", "", line).removeprefix("Subject: ").strip() for line in shown.splitlines()}
    return all(text in lines for text in texts)
