"""Looks at the status page as people do: in a browser, by keyboard, by screen reader, on a narrow screen, in the dark.

page.py CHROMIUM CONNECTOR
"""

import concurrent.futures
import contextlib
import datetime
import functools
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import axe_playwright_python
import checks
from checks import free_port, held, holds
from playwright.sync_api import Error, sync_playwright

sys.stdout.reconfigure(line_buffering=True)
CHROMIUM, CONNECTOR = sys.argv[1:3]
PAGE_FROM = os.environ.get("PAGE_FROM")
AXE = next(pathlib.Path(axe_playwright_python.__file__).parent.glob("axe.min.js")).read_text()
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCHEMES = ["light", "dark"]
# A name that leads here and is not this host's own.
ELSEWHERE = "connector.test"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
]
# What the connector that takes calls has told, for whoever wonders why something does not hold.
LOG = pathlib.Path("target/packaging/page/connector.log")
# How long whatever must come to be may take.
DEADLINE = 90
# What a person shows who looks from elsewhere.
TOKEN = "placeholder-admin"
# Between two questions of the page, in seconds.
EVERY = 2

until = functools.partial(checks.until, limit=DEADLINE)

def fetched(url, body=None, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read().decode()


def status_of(address):
    return json.loads(fetched(f"{address}/status")[1])


# -- The connector --------------------------------------------------------------------------------------------------------


def has_ended(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def runs(config, settings, log):
    command = [CONNECTOR, "run", f"--config={config}", *(f"--set={key}={value}" for key, value in settings.items())]
    with log.open("w") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


class Demonstration:
    """The connector against its simulators: at first the demonstration's own, later one that takes calls for grants."""

    def __init__(self, told):
        self.told = told
        command = [CONNECTOR, "demo", "--keep-running", "--users=50", "--groups=10"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)
        self.second = None
        self.address = until("the demonstration says where it is", lambda: self.said(r"connector +(http://\S+)/"))

    def text(self):
        return pathlib.Path(self.told.name).read_text()

    def said(self, pattern, after=""):
        if self.process.poll() is not None:
            sys.exit(f"the demonstration ended too soon:\n{self.text()}")
        found = re.search(pattern, self.text().partition(after)[2] if after else self.text())
        return found and found[1]

    def first(self):
        """The process id of the demonstration's own connector."""
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    return int(stat.parent.name)
        sys.exit("the demonstration has no connector")

    def config(self):
        return pathlib.Path(self.said(r"configuration +(\S+)"))

    def again(self):
        """The same connector on the same state, with a door for calls and one for people elsewhere."""
        config = self.config()
        for name in ["custom-token", "admin-token"]:
            config.with_name(name).write_text(TOKEN)
            config.with_name(name).chmod(0o600)
        self.calls = f"http://127.0.0.1:{free_port()}/"
        settings = {
            "admin.token_file": config.with_name("admin-token"),
            "custom_integration.enabled": "true",
            "custom_integration.listen": self.calls.strip("/").removeprefix("http://"),
            "custom_integration.token_file": config.with_name("custom-token"),
            "okta[0].access.policy.max_duration": "10m",
        }
        self.second = runs(config, settings, LOG)

    def call(self, what, user, group):
        params = {"username": user, "resource_type": "okta-group", "resources": [group], "permission": "member"}

        def answer():
            # An error is asked again, as callers do.
            body = {"event_type": f"{what}-access", "params": params}
            return json.loads(fetched(self.calls, body, token=TOKEN)[1]) == {"status": "ok"}

        until(f"{what} for {user}", answer)

    def people(self):
        """Who was given what in the story, and can be given it again: logins and ids of groups."""
        logins = re.findall(r"(\S+@\S+) into", self.text())
        endings = status_of(self.address)["recent_endings"]
        groups = [end["group_id"] for end in sorted(endings, key=lambda end: end["grant_id"])]
        return list(zip(logins, groups, strict=True))

    def end_of_the_second(self):
        self.second.terminate()
        holds("the connector stops", self.second.wait(60) == 0)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        holds(f"the demonstration held: {self.text()}", self.process.wait(60) == 0)

    def gone(self):
        for process in [self.second, self.process]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)


class Database:
    """A PostgreSQL of its own, on loopback, which lets everybody in."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.programs = max(glob.glob("/usr/lib/postgresql/*/bin"), default="", key=lambda one: int(one.split("/")[-2]))
        # It does not run as root.
        self.nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        folder.mkdir()
        if self.nobody:
            shutil.chown(folder, "nobody", "nogroup")
        self.command("initdb", "--username=connector", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.start()
        self.url = f"postgres://connector@127.0.0.1:{self.port}/postgres"

    def command(self, program, *arguments):
        path = os.path.join(self.programs, program)
        checks.must(path, f"--pgdata={self.folder}/data", *arguments, cwd=self.folder, **self.nobody)

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.command("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={options}")

    def stop(self):
        self.command("pg_ctl", "stop", "--wait", "--mode=immediate")

    def gone(self):
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()


class Daemon:
    """One of several, on the demonstration's simulators."""

    def __init__(self, name, folder, config, database):
        self.address = f"http://127.0.0.1:{free_port()}"
        settings = {
            "state.url": database.url,
            "state.directory": folder / name,
            "audit.file": folder / name / "audit.jsonl",
            "admin.listen": self.address.removeprefix("http://"),
        }
        (folder / name).mkdir()
        self.process = runs(config, settings, LOG.with_name(f"{name}.log"))

    def until(self, what, fits):
        def look():
            status = status_of(self.address)
            return fits(status["facts"]) and status

        return until(what, look)

    def stands_still(self):
        self.process.send_signal(signal.SIGSTOP)

    def goes_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.goes_on()
        self.process.terminate()
        holds("one of several daemons stops", self.process.wait(60) == 0)

    def gone(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)


@contextlib.contextmanager
def two_daemons(demo):
    """They share a database; the first was there before the second. Both, and the database."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        # Others than its owner go through it.
        folder.chmod(0o755)
        database = Database(folder / "database")
        stack.callback(database.gone)
        daemons = []
        for name in ["first", "second"]:
            daemons.append(Daemon(name, folder, demo.config(), database))
            stack.callback(daemons[-1].gone)
            daemons[0].until("the first has run the directory", lambda facts: owner_of(facts)["is_this"] and has_run(facts))
        daemons[0].until("the first sees the second", lambda facts: len(facts["fleet"]["daemons"]) == 2)
        yield *daemons, database
        for daemon in daemons:
            daemon.end()


def owner_of(facts):
    return facts["organizations"][0].get("owner") or {"is_this": None}


def has_run(facts):
    return facts["organizations"][0]["last_directory_run"]


# -- The browser ----------------------------------------------------------------------------------------------------------

# What happens in the page while nobody looks: breaches of its policy, and what is said aloud beside what is shown.
WATCH = """
window.breaches = []; window.said = []; window.verdicts = [];
document.addEventListener('securitypolicyviolation', (event) => breaches.push(event.violatedDirective));
document.addEventListener('DOMContentLoaded', () => {
  // Not the browser's own page that says that nobody answers yet.
  if (!document.getElementById('verdict')) return;
  const follow = (id, into) => new MutationObserver(() => into.push(document.getElementById(id).textContent))
    .observe(document.getElementById(id), { childList: true, characterData: true, subtree: true });
  follow('announcement', said);
  follow('verdict', verdicts);
});
"""


class Browser:
    def __init__(self, chromium, address):
        self.chromium, self.address = chromium, address
        self.asked = set()

    @contextlib.contextmanager
    def page(self, answer=None, host=None, **settings):
        """The page; with `answer`, as if /status answered what that returns."""
        base = {"locale": "en-GB", "timezone_id": "UTC", "viewport": {"width": 1280, "height": 900}}
        context = self.chromium.new_context(**(base | settings))
        context.set_default_timeout(DEADLINE * 1000)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.faults = []
        page.on("console", lambda message: message.type in ("error", "warning") and page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))
        if PAGE_FROM and host is None:
            for path in pathlib.Path(PAGE_FROM).iterdir():
                self.from_folder(page, path)
        if answer:
            page.route("**/status", lambda route: route.fulfill(json=answer()))
        address = self.address if host is None else self.address.replace("127.0.0.1", host)
        until("the page is there", lambda: goes_to(page, f"{address}/"))
        try:
            yield page
        finally:
            context.close()

    def from_folder(self, page, path):
        def fulfill(route):
            try:
                route.fulfill(response=route.fetch(), body=path.read_text())
            except Error:
                route.abort()

        page.route(re.compile(r"^http://[^/]+/$" if path.name == "page.html" else f"/{path.name}$"), fulfill)


def goes_to(page, url):
    page.faults.clear()
    with contextlib.suppress(Error):
        return page.goto(url)


def text_of(page, selector):
    return page.locator(selector).inner_text()


def is_settled(page):
    return until("the page shows an answer", lambda: text_of(page, "#freshness").startswith("as of"))


def rows(page, table):
    """The cells of a table as text."""
    return page.evaluate(
        "(id) => [...document.getElementById(id).rows].map((row) => [...row.cells].map((cell) => cell.innerText))", table
    )


def clock_time(instant):
    """As the page writes an instant of this day."""
    then = datetime.datetime.fromisoformat(instant[:19] + "+00:00")
    today = then.date() == datetime.datetime.now(datetime.UTC).date()
    return then.strftime("%H:%M:%S" if today else "%d/%m/%Y, %H:%M:%S")


def seconds_of(countdown):
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+) (d|h|min|s)\b", countdown))


# -- What is shown --------------------------------------------------------------------------------------------------------


def the_policy(address):
    files = 0
    for path in ["", "page.css", "page.js"]:
        headers, text = fetched(f"{address}/{path}")
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        holds(f"/{path} has a policy: {policy}", policy["default-src"] == "'none'")
        sources = {source for part in policy.values() for source in part.split()}
        holds(f"and nothing unsafe or foreign is in it: {sources}", sources <= {"'none'", "'self'", "data:"})
        files += len(text)
    holds(f"the page is small: {files} bytes", files < 30_000)
    print(f"-- the policy allows nothing unsafe and nothing foreign; the page has {files} bytes")


def follows_the_story(page, demo):
    """Open from before the first end; never loaded again."""
    is_settled(page)
    holds("not all of it has ended yet", len(rows(page, "endings")) < 3)
    until("what ends appears by itself", lambda: "grt_000001" in text_of(page, "#endings"))
    until("the demonstration has told its story", lambda: demo.said(r"(configuration)", "Everything stays up"))
    wanted = status_of(demo.address)["recent_endings"]
    until("the endings are those of /status", lambda: len(rows(page, "endings")) == len(wanted) == 3)
    holds(f"no fault is seen: {page.faults}", not page.faults)


def is_lost(page):
    return text_of(page, "#verdict") == "no answer" and "does not answer" in text_of(page, "#freshness")


def follows_a_loss(page, demo):
    first = demo.first()
    os.kill(first, signal.SIGSTOP)
    try:
        until("a connector that hangs does not answer", lambda: is_lost(page))
        holds("the title says so", "no answer" in page.title())
    finally:
        os.kill(first, signal.SIGCONT)
    until("and is back when it goes on", lambda: text_of(page, "#verdict") == "ready")
    holds(f"no fault is seen: {page.faults}", not page.faults)
    os.kill(first, signal.SIGTERM)
    until("a connector that is stopped does not answer", lambda: has_ended(first) and is_lost(page))
    demo.again()
    until("and is back when it is started", lambda: text_of(page, "#verdict") == "ready")
    holds(f"all that was missing is the answer: {page.faults}", all("ERR_" in fault for fault in page.faults))
    page.faults.clear()


def follows_grants(page, demo, people):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: demo.call("grant", *one), people))
    for user, group in people:
        until(f"{user} is shown", lambda user=user, group=group: has_access(page, user, group))
    left = seconds_of(rows(page, "grants")[0][2])
    holds(f"the end is near: {left} s", 500 < left <= 600)
    counts = []
    until("it counts down", lambda: counted(page, counts) and len(counts) > 3)
    holds(f"second by second: {counts}", all(0 < one - next <= 2 for one, next in zip(counts, counts[1:], strict=False)))

    (user, group), *_ = people
    demo.call("revoke", user, group)
    until("what ends is gone", lambda: user not in text_of(page, "#grants"))
    ended = until("and is known to have ended", lambda: status_of(demo.address)["recent_endings"])[0]
    ids = ended["okta_request_ids"]
    holds(f"with Okta's request ids: {ended}", ids and all(re.fullmatch(r"\w{32}", one) for one in ids))
    until("which are shown", lambda: all(one in text_of(page, "#endings") for one in ids))

    page.evaluate("getSelection().selectAllChildren(document.querySelector('#endings .ids'))")
    asked = text_of(page, "#freshness")
    until("the page asks again", lambda: text_of(page, "#freshness") != asked)
    marked = page.evaluate("getSelection().toString().trim()")
    holds(f"what was marked to be copied stays marked: {marked}", marked == "\n".join(ids))
    holds(f"no fault is seen: {page.faults}", not page.faults)


def has_access(page, user, group):
    states = [f"{group}: member", f"{group}: standing before the grant"]
    return any(row[0] == user and row[1] in states for row in rows(page, "grants"))


def counted(page, counts):
    now = seconds_of(rows(page, "grants")[0][2])
    if not counts or counts[-1] != now:
        counts.append(now)
    return counts


def what_was_said(page):
    """While the page followed: aloud is only what changes."""
    said, verdicts, breaches = page.evaluate("[said, verdicts, breaches]")
    spoken = {"ready": "The connector is ready.", "not ready": "The connector is not ready."}
    verdicts = [spoken.get(verdict, "The connector does not answer.") for verdict in verdicts]
    holds(f"aloud is what is shown: {said}, {verdicts}", said == verdicts)
    holds(f"and only what changes: {said}", all(one != next for one, next in zip(said, said[1:], strict=False)))
    holds(f"two losses, and what was before and after: {said}", said[-5:].count("The connector does not answer.") == 2)
    holds(f"no breach of the policy: {breaches}", not breaches)
    return said


def the_facts(browser, status):
    """A real answer, held still."""
    with browser.page(answer=lambda: status) as page:
        is_settled(page)
        facts, count = status["facts"], held()
        holds("the verdict", text_of(page, "#verdict") == "ready" and "ready" in page.title())
        about = text_of(page, "#about")
        holds(f"who it is: {about}", facts["connector_id"] in about and facts["version"] in about)
        for shown, one in zip(rows(page, "organizations"), facts["organizations"], strict=True):
            holds(f"the organization: {shown}", shown[:3] == [one["integration_id"], one["organization_url"], "held"])
            holds("its numbers", shown[3:5] == [str(one["live_memberships"]), str(one["removals_due"])])
            holds("its directory", one["last_directory_run"]["message"] in shown[5])
            for bucket, limit, left in one["budget"]:
                holds(f"what is left of {bucket}", f"{bucket} {left} of {limit}" in shown[6].split("\n"))
        for shown, check in zip(rows(page, "checks"), status["checks"], strict=True):
            holds(f"the check: {shown}", shown[:3] == [check["name"], "yes", check["message"]])
        for shown, grant in zip(rows(page, "grants"), status["live_grants"], strict=True):
            groups = "\n".join(f"{group['group_id']}: {group['state']}" for group in grant["groups"])
            holds(f"the grant: {shown}", shown[:2] == [grant["username"], groups])
            holds("its end", re.fullmatch(r"in \d+ min \d+ s", shown[2]))
            holds("and its id", shown[3:] == [clock_time(grant["expires_at"]), grant["grant_id"]])
        for shown, end in zip(rows(page, "endings"), status["recent_endings"], strict=True):
            how, late = end["how"].replace("_", " "), f"{end['late_seconds']:.1f} s"
            holds(f"the ending: {shown}", shown[:3] == [clock_time(end["at"]), how, late])
            holds("whose and what", shown[3:6] == [end["user_id"], end["group_id"], end["grant_id"]])
            holds("Okta's request ids", shown[6] == "\n".join(end["okta_request_ids"]))
        holds("nothing of other daemons is shown", not page.locator("#fleet").is_visible())
        holds("nor written", not re.search("daemon|epoch", page.locator("main").inner_text()))
        tiles = page.evaluate("[...document.querySelectorAll('dd')].map((one) => one.innerText)")
        live = sum(one["live_memberships"] for one in facts["organizations"])
        good = f"{len(status['checks'])} of {len(status['checks'])}"
        holds(f"the numbers in front: {tiles}", (tiles[0], tiles[1], tiles[3]) == (str(live), "0", good))
        holds(f"no fault is seen: {page.faults}", not page.faults)
        print(f"-- {held() - count} facts of /status are shown")

    broken = json.loads(json.dumps(status)) | {"ready": False}
    broken["checks"][0] |= {"ok": False, "message": "the disk is full"}
    with browser.page(answer=lambda: broken) as page:
        is_settled(page)
        holds("a check that fails is told first", text_of(page, "#reasons") == "journal: the disk is full")
        holds("and the verdict", text_of(page, "#verdict") == "not ready")


def follows_a_fleet(browser, first, second, database):
    """What one of two daemons shows as its owner, as one that was, and without the other and the database."""
    shown = {}
    directory = lambda: rows(page, "organizations")[0][5]
    database_is = lambda text: text in text_of(page, "#database")
    with browser.page() as page:
        is_settled(page)
        until("both are there", lambda: sorted(row[1] for row in rows(page, "daemons")) == ["this one", "yes"])
        until("the organization is this one's", lambda: directory().startswith("by this daemon, epoch 1\n"))
        holds("the database answers", database_is(": answers; 0 entries"))
        shown["the owner"] = status_of(first.address)

        first.stands_still()
        second.until("a daemon that stands still is replaced", lambda facts: owner_of(facts)["is_this"])
        first.goes_on()
        until("the organization is another's", lambda: directory().startswith("by the daemon on "))
        holds(f"its own run is not taken for the last: {directory()}", "\nthe last run here, while it was" in directory())
        shown["not the owner"] = status_of(first.address)

        second.stands_still()
        until("one is gone", lambda: sorted(row[1] for row in rows(page, "daemons")) == ["gone", "this one"])
        until("the organization is this one's again", lambda: directory().startswith("by this daemon, epoch 3\n"))
        shown["alone"] = status_of(first.address)

        database.stop()
        until("the database is missed", lambda: database_is(": does not answer; it last did "))
        until("and makes unready", lambda: "journal: the fleet's database does not answer" in text_of(page, "#reasons"))
        until("nobody knows whose it is", lambda: "which cannot know whether it is still" in directory())
        shown["no database"] = status_of(first.address)
        database.start()
        until("it is back", lambda: database_is(": answers; ") and text_of(page, "#verdict") == "ready")
        holds(f"no fault is seen: {page.faults}", not page.faults)
        holds("no breach of the policy", not page.evaluate("breaches"))
    print("-- a fleet is followed through the loss of its owner, its other daemon and its database")
    return shown


def the_fleet(browser, status):
    """A real answer of one of several daemons, held still."""
    with browser.page(answer=lambda: status) as page:
        is_settled(page)
        facts = status["facts"]
        fleet = facts["fleet"]
        about = text_of(page, "#database")
        state = ": answers; " if fleet["answers"] else ": does not answer; it last did "
        holds(f"the database: {about}", about.startswith(fleet["database"] + state))
        holds("how far behind", f"; {fleet['entries_behind']} entries of others" in about)
        shown = {row[6]: row for row in rows(page, "daemons")}
        holds(f"each daemon: {shown}", shown.keys() == {one["id"] for one in fleet["daemons"]})
        for one in fleet["daemons"]:
            row, is_this = shown[one["id"]], one["id"] == fleet["this_daemon"]
            word = "this one" if is_this else "yes" if one["lives"] else "gone"
            holds(f"the daemon: {row}", row[:4] == [one["host"], word, one["version"], clock_time(one["started_at"])])
            silent = fleet["heard"]["secs"] + (0 if is_this else one["silent"]["secs"])
            holds("when it was heard", 0 <= seconds_of(row[4]) - silent <= 2 and row[4].endswith(" ago"))
            owned = [org for org in facts["organizations"] if org["owner"]["daemon"] == one["id"]]
            owned = [f"{org['integration_id']}, epoch {org['owner']['epoch']}" for org in owned]
            holds("what it owns", row[5].split("\n") == (owned or [""]))


def the_charts(page, status):
    """Each says in words what it draws."""
    names = page.evaluate("[...document.querySelectorAll('svg')].map((one) => one.getAttribute('aria-label'))")
    history, last = status["history"], status["history"][-1]
    most, since = max(one["live"] for one in history), clock_time(history[0]["at"])
    facts = [f"{last['live']} held", f"at most {most}", since, f"{last['due']} removals due"]
    holds(f"the first chart: {names}", all(fact in names[0] for fact in facts))
    for name, share in last["budget_left"].items():
        least = min(one["budget_left"].get(name, 1) for one in history)
        facts = [name, f"{share:.0%}".replace("%", " % left"), f"{least:.0%}".replace("%", " % at the least")]
        holds(f"the second chart: {names}", all(fact in names[1] for fact in facts))


# Of /status, by the last part of its name, what is shown as it stands.
SHOWN = "connector-id version integration-id organization-url outcome message name username group-id state grant-id"
SHOWN = [*SHOWN.split(), "user-id", "how", "okta-request-ids.0", "demo-okta-groups"]
SHOWN_OF_A_FLEET = ["database", "host", "version", "integration-id", "id"]


def hostile(value, path, made):
    """Markup in each string, and in each name that is data."""
    if isinstance(value, str):
        made.append(f"<img src=x onerror='ran=1' alt={path}><script>ran=1</script>")
        return made[-1]
    if isinstance(value, list):
        return [hostile(one, f"{path}.{n}", made) for n, one in enumerate(value)]
    if isinstance(value, dict):
        names_are_data = path.endswith("budget-left")
        return {
            hostile(key, f"{path}.{key}", made) if names_are_data else key: hostile(
                one, f"{path}.{key}".replace("_", "-"), made
            )
            for key, one in value.items()
        }
    return value


def nothing_hostile_runs(browser, status, parts):
    made = []
    document = hostile(status, "", made)
    with browser.page(answer=lambda: document) as page:
        is_settled(page)
        seen = page.evaluate("document.body.textContent")
        shown = [text for text in made if text in seen]
        found = page.evaluate("document.querySelectorAll('img, script:not([src]), iframe, [onerror], [style]').length")
        holds("none of it is markup", found == 0)
        holds("none of it runs", page.evaluate("typeof ran") == "undefined" and not page.faults)
        holds("the verdict is shown all the same", text_of(page, "#verdict") == "ready")
        for part in parts:
            holds(f"{part} is shown as it is", any(f"{part}>" in text for text in shown))
        fits(page, "what is hostile")
    print(f"-- {len(made)} strings of markup: {len(shown)} are shown as text, none runs")


def what_is_done_is_noticed(browser):
    """The watch over the page sees what it is there to see."""
    with browser.page() as page:
        is_settled(page)
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), { textContent: 'ran = 1' }))")
        until("a breach of the policy is noticed", lambda: page.evaluate("breaches.length") > 0 and page.faults)
        holds("and does not run", page.evaluate("typeof ran") == "undefined")
        page.evaluate("document.getElementById('about').style.color = '#808080'")
        holds("a contrast that is too low is noticed", "color-contrast" in violations(page)[0])


# -- For everybody --------------------------------------------------------------------------------------------------------


def violations(page):
    """What axe finds, what it could not decide, and how many rules it held the page to."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", STANDARDS)
    undecided = {one["id"]: [node["html"] for node in one["nodes"]] for one in found["incomplete"]}
    return {one["id"]: [node["html"] for node in one["nodes"]] for one in found["violations"]}, undecided, len(found["passes"])


def states_of(status):
    broken = json.loads(json.dumps(status)) | {"ready": False}
    broken["checks"][0] |= {"ok": False, "message": "the disk is full"}
    broken["live_grants"][0]["over"] = {"reason": "operator", "due": status["now"]}
    empty = status | {"live_grants": [], "recent_endings": [], "history": []}
    return {"ready": status, "not ready": broken, "empty": empty, "no answer": None}


def axe_finds_nothing(browser, status, cases):
    rules = 0
    for name, document in cases.items():
        with browser.page(answer=lambda document=document: document or status) as page:
            is_settled(page)
            if not document:
                page.route("**/status", lambda route: route.abort())
                until("the answer is missed", lambda page=page: is_lost(page))
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 380
                holds(f"{scheme} is {ground}", light == (scheme == "light"))
                found, undecided, passed = violations(page)
                holds(f"axe finds nothing, {scheme}, {name}: {found}", not found)
                holds(f"and leaves nothing open, {scheme}, {name}: {undecided}", not undecided)
                rules = max(rules, passed)
    print(f"-- axe: 0 violations and 0 open questions by {rules} rules, {' and '.join(SCHEMES)}, {len(cases)} states each")


FOCUSED = """() => {
  const { id, href } = document.activeElement;
  const box = document.activeElement.getBoundingClientRect();
  const style = getComputedStyle(document.activeElement);
  const labelled = document.activeElement.getAttribute('aria-labelledby');
  return { name: labelled ?? (id || href || 'body'), outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    seen: box.top >= 0 && box.left >= 0 && box.top < innerHeight && box.right <= innerWidth };
}"""


def by_keyboard(browser, status):
    with browser.page(answer=lambda: status, viewport={"width": 360, "height": 800}) as page:
        is_settled(page)
        interactive = page.evaluate(
            "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]"
            ".filter((one) => !one.closest('noscript') && one.checkVisibility())"
            ".map((one) => one.getAttribute('aria-labelledby') ?? (one.id || one.href))"
        )
        reached = []
        for _ in interactive:
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            holds(f"the focus is seen: {focused}", focused["outline"] >= 2 and focused["seen"])
            reached.append(focused["name"])
        holds(f"everything is reached, in order: {reached}, {interactive}", reached == interactive and len(reached) >= 8)

        tables = page.locator(".scroll:visible").count()
        wanted = page.locator(".scroll[tabindex='0'] table:visible").count()
        holds("each table can be scrolled by keyboard", tables == wanted == 4 + ("fleet" in status["facts"]))
        page.locator(".scroll[aria-labelledby=h-endings]").focus()
        page.keyboard.press("ArrowRight")
        moved = "document.querySelector('.scroll[aria-labelledby=h-endings]').scrollLeft > 0"
        until("a table is scrolled by keyboard", lambda: page.evaluate(moved))

    with browser.page(answer=lambda: status) as page:
        is_settled(page)
        hidden = page.evaluate("document.querySelector('.skip').getBoundingClientRect().bottom < 0")
        page.keyboard.press("Tab")
        holds("the way past the head is seen when it is reached", hidden and page.evaluate(FOCUSED)["seen"])
        page.keyboard.press("Enter")
        until("it leads to the facts", lambda: page.evaluate("document.activeElement.id") == "main")
        page.keyboard.press("Tab")
        holds("and on from there", page.evaluate(FOCUSED)["name"] == "h-grants")
    print(f"-- keyboard: {len(reached)} of {len(interactive)} elements, in order, each with a focus that is seen")


def by_screen_reader(browser, status):
    with browser.page(answer=lambda: status) as page:
        is_settled(page)
        session = page.context.new_cdp_session(page)
        tree = {}
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            if not node["ignored"]:
                tree.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
        for role in ["banner", "main", "contentinfo", "status"]:
            holds(f"there is one {role}: {tree.keys()}", len(tree.get(role, [])) == 1)
        shared = int("fleet" in status["facts"])
        headings = page.locator("h1:visible, h2:visible, h3:visible").evaluate_all("(all) => all.map((one) => one.tagName)")
        holds(f"one heading, and those below it: {headings}", headings == ["H1"] + (5 + shared) * ["H2"])
        regions = {"Live grants", "Ended last", "The last hours", "Organizations", "Checks"}
        regions |= {"Daemons that share the state"} if shared else set()
        holds(f"each part is a region with a name: {tree['region']}", set(tree["region"]) == regions)
        captions = page.locator("caption:visible").all_text_contents()
        holds(f"each table is named: {tree['table']}", sorted(tree["table"]) == sorted(captions) and len(captions) == 4 + shared)
        holds("each column has its head", page.locator("thead th:not([scope=col])").count() == 0)
        lines = page.locator("tbody tr").count()
        holds("each row has its head", page.locator("tbody th[scope=row]").count() == lines == len(tree["rowheader"]))
        names = page.evaluate("[...document.querySelectorAll('svg')].map((one) => one.getAttribute('aria-label'))")
        images = tree.get("image", []) + tree.get("img", [])
        holds(f"each chart is said in words: {images}", sorted(images) == sorted(names) and len(names) == 2)
        the_charts(page, status)
        live = page.evaluate("[...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((one) => one.id)")
        holds(f"only the verdict is said aloud: {live}", live == ["announcement"])
    print(f"-- screen reader: 4 landmarks, {len(regions)} regions, {len(captions)} named tables, {len(names)} charts in words")


def fits(page, what):
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    holds(f"{what} fits its width: {wide} pixels too wide", wide <= 0)
    out = page.evaluate(
        "[...document.querySelectorAll('body *')].filter((one) => !one.closest('.scroll, .unseen, .skip, svg') &&"
        " (one.getBoundingClientRect().right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1) &&"
        " getComputedStyle(one).display !== 'inline').map((one) => one.outerHTML.slice(0, 80))"
    )
    holds(f"{what} is not cut: {out}", not out)


def on_any_screen(browser, status):
    # A browser that is zoomed to 200 % gives the page half the pixels.
    sizes = {"360 px": (360, 1), "320 px": (320, 1), "1280 px at 200 %": (640, 2), "1280 px": (1280, 1)}
    for what, (width, scale) in sizes.items():
        settings = {"viewport": {"width": width, "height": 700}, "device_scale_factor": scale}
        with browser.page(answer=lambda: status, **settings) as page:
            is_settled(page)
            fits(page, what)
            if width >= 640:
                page.evaluate("document.documentElement.style.fontSize = '200%'")
                fits(page, f"{what}, letters of 200 %")
    print(f"-- no scrolling sideways at {', '.join(sizes)}, nor with letters of 200 %")


def without_scripts(browser):
    with browser.page(java_script_enabled=False) as page:
        shown = text_of(page, "noscript")
        holds(f"without scripts it says so: {shown}", "needs scripts" in shown and page.locator("noscript a").count() == 2)
        page.locator("noscript a").nth(1).click()
        until("and leads to the same as text", lambda: "ready" in text_of(page, "body"))
    print("-- without scripts it says where the same is as text")


# -- From elsewhere -------------------------------------------------------------------------------------------------------


def refused_elsewhere(browser, how):
    page = browser.chromium.new_page()
    try:
        answered = str(page.goto(browser.address.replace("127.0.0.1", ELSEWHERE)).status)
    except Error as error:
        answered = error.message
    holds(f"elsewhere the page is not shown: {answered}", how in answered)
    holds("nor anything of it", page.locator("main").count() == 0)
    page.close()


def shown_elsewhere(browser):
    refused_elsewhere(browser, "ERR_INVALID_AUTH_CREDENTIALS")
    answers = {}
    with browser.page(host=ELSEWHERE, http_credentials={"username": "me", "password": TOKEN}) as page:
        page.on("response", lambda response: answers.update({response.url.rpartition("/")[2]: response.status}))
        page.reload()
        is_settled(page)
        holds("whoever shows the token is shown the page", text_of(page, "#verdict") == "ready")
        holds(f"and its files: {answers}", answers == dict.fromkeys(["", "page.css", "page.js", "status"], 200))
    print("-- elsewhere: 403 without admin.token_file, 401 without the token, everything with it")


# -- Pictures -------------------------------------------------------------------------------------------------------------


def takes_pictures(browser, demo, people):
    """Of real numbers: grants come and go, one a minute, while the charts fill."""
    first, second, standing = people
    steps = [("revoke", second), ("grant", first), ("revoke", standing), ("grant", second)]
    for number, (what, (user, group)) in enumerate(steps):
        until("a minute passes", lambda number=number: len(status_of(demo.address)["history"]) > number + 1)
        demo.call(what, user, group)
    for scheme in SCHEMES:
        with browser.page(color_scheme=scheme, viewport={"width": 1200, "height": 1000}) as page:
            is_settled(page)
            path = pathlib.Path(f"docs/status-page-{scheme}.png")
            page.screenshot(path=path)
            holds(f"{path} is small", path.stat().st_size < 200_000)


def all_of_it(chromium, demo):
    browser = Browser(chromium, demo.address)
    with browser.page() as page:
        the_policy(demo.address)
        follows_the_story(page, demo)
        people = demo.people()
        refused_elsewhere(browser, "403")
        told = status_of(demo.address)
        follows_a_loss(page, demo)
        follows_grants(page, demo, people)
        said = what_was_said(page)
        print(f"-- followed without loading it again: grants, endings, two losses; said aloud {len(said)} times")
    # What a restart forgets, and what some minutes bring.
    status = status_of(demo.address)
    status["recent_endings"] += told["recent_endings"]
    for live, left in [(3, 0.25), (2, 0.5)]:
        left = {one["integration_id"]: left for one in status["facts"]["organizations"]}
        status["history"].append({"at": status["now"], "live": live, "due": 1, "budget_left": left})
    the_facts(browser, status)
    nothing_hostile_runs(browser, status, SHOWN)
    what_is_done_is_noticed(browser)
    axe_finds_nothing(browser, status, states_of(status))
    by_keyboard(browser, status)
    by_screen_reader(browser, status)
    on_any_screen(browser, status)
    without_scripts(browser)
    shown_elsewhere(browser)
    places = {url.split("/")[2].split(":")[0] for url in browser.asked if not url.startswith("data:")}
    holds(f"nothing was asked of anybody else: {places}", places <= {"127.0.0.1", ELSEWHERE})
    if os.environ.get("UPDATE_DOCS"):
        takes_pictures(browser, demo, people)
    for user, group in people:
        demo.call("revoke", user, group)
    demo.end_of_the_second()
    with two_daemons(demo) as (first, second, database):
        several(Browser(chromium, first.address), status, first, second, database)


def several(browser, status, first, second, database):
    shown = follows_a_fleet(browser, first, second, database)
    count = held()
    for one in shown.values():
        the_fleet(browser, one)
    print(f"-- {held() - count} facts of the fleet in /status are shown")
    # Grants and charts are those of the one daemon before.
    shown = {name: status | {"facts": one["facts"]} for name, one in shown.items()}
    nothing_hostile_runs(browser, shown["not the owner"], SHOWN_OF_A_FLEET)
    axe_finds_nothing(browser, status, shown)
    by_keyboard(browser, shown["not the owner"])
    by_screen_reader(browser, shown["not the owner"])
    on_any_screen(browser, shown["not the owner"])
    on_any_screen(browser, shown["no database"])


began = time.monotonic()
with tempfile.NamedTemporaryFile("w") as output, sync_playwright() as driver:
    chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    demo = Demonstration(output)
    try:
        all_of_it(chromium, demo)
        chromium.close()
        demo.end()
    finally:
        demo.gone()
print(f"page: {held()} assertions hold, in {time.monotonic() - began:.0f} s")
