"""Holds alerts, runbook and dashboard against each other, against Prometheus, and against what the connector exports.

monitoring.py PROMTOOL PROMETHEUS CONNECTOR
"""

import contextlib
import functools
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import checks
import yaml
from checks import free_port, held, holds, ran

sys.stdout.reconfigure(line_buffering=True)
PROMTOOL, PROMETHEUS, CONNECTOR = sys.argv[1:4]
FOLDER = pathlib.Path("deploy/monitoring")
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
HISTORIES = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RUNBOOK = pathlib.Path("docs/runbook.md").read_text()
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}

# What the demonstration gives no occasion to count, so that no sample, and no line of type, need be there; and its labels.
NO_OCCASION = {
    "apono_connector_okta_throttled_total": {"integration", "bucket"},
    "apono_connector_access_outside_changes_total": {"integration", "outcome"},
    "apono_connector_secret_reloads_total": {"secret", "outcome"},
    # Of several daemons.
    "apono_connector_fleet_owner": {"integration"},
    "apono_connector_fleet_owner_epoch": {"integration"},
    "apono_connector_fleet_slice_ratio": {"integration"},
}
# Written by Prometheus itself.
OF_PROMETHEUS = {"ALERTS"}
# Of the connector, and neither in an alert nor on the dashboard.
NOT_LOOKED_AT = set()
SEVERITIES = {"critical", "warning", "info"}
PARTS = ["Means", "Look", "Cure", "Escalate"]
# How long whatever must come to be may take.
DEADLINE = 180

until = functools.partial(checks.until, limit=DEADLINE)


def metrics_of(expression):
    """The names of metrics in an expression."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    return set(re.findall(r"\b(?:apono_connector|process)_\w+\b|\bALERTS\b", bare))


# -- Alerts ---------------------------------------------------------------------------------------------------------------


def histories_of(name):
    """Those that ask about an alert."""
    wanted = f'alertname="{name}"'
    return [test for test in HISTORIES["tests"] if any(wanted in asked["expr"] for asked in test["promql_expr_test"])]


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def asked_of_promtool(rules_and_tests):
    """Runs histories against rules, all of them in one process: what it says of each, on its two outputs together."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, (rule, tests) in enumerate(rules_and_tests):
            rules, file = pathlib.Path(folder, f"{number}.rules.yaml"), pathlib.Path(folder, f"{number}.test.yaml")
            rules.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
            about = {
                "rule_files": [rules.name],
                "evaluation_interval": HISTORIES["evaluation_interval"],
                "tests": tests,
            }
            file.write_text(yaml.safe_dump(about))
            files.append(file)
        done = ran(PROMTOOL, "check", "rules", *(file.with_name(file.name.replace("test", "rules")) for file in files))
        holds(f"what is asked about is a rule: {done.stdout}{done.stderr}", done.returncode == 0)
        done = ran(PROMTOOL, "test", "rules", *files)
    parts = re.split(r"^Unit Testing:.*\n", done.stdout, flags=re.MULTILINE)[1:]
    holds(f"promtool speaks of each file: {done.stderr[:1000]}", len(parts) == len(files))
    return ["SUCCESS" in part for part in parts], done.stderr


def the_rules():
    done = ran(PROMTOOL, "check", "rules", "--lint=all", "--lint-fatal", FOLDER / "alerts.yaml")
    holds(f"promtool finds nothing in the rules: {done.stdout}{done.stderr}", done.returncode == 0)
    done = ran(PROMTOOL, "test", "rules", FOLDER / "alerts.test.yaml")
    holds(f"the histories come out as expected: {done.stdout}{done.stderr}", done.returncode == 0)
    for name, rule in RULES.items():
        holds(f"{name} has a severity", rule["labels"]["severity"] in SEVERITIES)
        texts = rule["annotations"]
        holds(f"{name} says what and what next", set(texts) == {"summary", "description", "runbook_url"})
        holds(f"{name} names its entry", texts["runbook_url"] == f"docs/runbook.md#{name.lower()}")
        holds(f"{name} names the next command", re.search("Next: .*`", texts["description"]))
        asked = [one for test in histories_of(name) for one in test["promql_expr_test"]]
        holds(f"{name} is seen to fire", any(one["exp_samples"] for one in asked))
        holds(f"{name} is seen not to fire", any(not one["exp_samples"] for one in asked))
    moments = sum(len(test["promql_expr_test"]) for test in HISTORIES["tests"])
    print(
        f"-- {len(RULES)} alerts: no findings; {moments} moments of {len(HISTORIES['tests'])} histories come out as expected"
    )


def changes_of(rule, step):
    """The rule with one thing made wrong, in each way that there is."""
    yield "never", rule | {"expr": "vector(0) > 1"}
    if "for" in rule:
        yield "at once", {key: value for key, value in rule.items() if key != "for"}
        yield "a moment late", rule | {"for": f"{seconds(rule['for']) + step}s"}
    else:
        yield "an hour late", rule | {"for": "1h"}
    for found in re.finditer(r"(>=|==|>|<) ([\d.]+)", rule["expr"]):
        how, number = found[1], float(found[2])
        if how == "==":
            others = [f"== {1 - number}"]
        elif number == 0:
            others = [">= 0", "> 1"]
        else:
            by = 1 if number < 10 and number.is_integer() else number / 4
            others = [f"{how} {number + by}", f"{how} {number - by}"]
        for other in others:
            expression = rule["expr"][: found.start()] + other + rule["expr"][found.end() :]
            yield f"{other} in place of {found[0]}", rule | {"expr": expression}


def every_change_is_noticed():
    """The histories are sharp: whatever is made wrong of an alert turns one of them."""
    changed = {}
    for name, rule in RULES.items():
        tests = histories_of(name)
        step = max(seconds(test["interval"]) for test in tests)
        for what, other in changes_of(rule, step):
            changed[f"{name}, {what}"] = (other, tests)
    passed, _ = asked_of_promtool(changed.values())
    unnoticed = [what for what, still in zip(changed, passed, strict=True) if still]
    holds(f"the histories notice what is made wrong: {unnoticed}", not unnoticed)
    print(f"-- {len(changed)} of {len(changed)} alerts that were made wrong in one thing are noticed")


def what_is_read():
    """What a person gets to read, as Prometheus writes it: everything is filled in."""
    for name, rule in RULES.items():
        moments = [
            {
                **test,
                "promql_expr_test": [],
                "alert_rule_test": [{"alertname": name, "eval_time": one["eval_time"], "exp_alerts": []}],
            }
            for test in histories_of(name)
            for one in test["promql_expr_test"]
            if one["exp_samples"]
        ]
        _, said = asked_of_promtool([(rule, moments)])
        texts = re.findall(r"Annotations:\{(.*)\}", said)
        holds(f"{name} is written for each moment: {said}", len(texts) >= len(moments))
        for text in texts:
            holds(
                f"{name} is filled in: {text}",
                not re.search(r"<no value>|<error|error expanding|\{\{| of  | in  |\(\)", text),
            )
        integrations = set(re.findall(r'Labels:\{.*integration="(\w+)"', said))
        summaries = re.findall(r'summary="((?:[^"\\]|\\.)*)"', said)
        for integration in integrations:
            holds(f"{name} names the organization", any(re.search(rf"\b{integration}\b", one) for one in summaries))
        for one in set(re.findall(r'description="((?:[^"\\]|\\.)*)"', said)):
            the_commands(name, one.replace('\\"', '"'))


# -- Runbook --------------------------------------------------------------------------------------------------------------

HELP = {}
commands = set()
codes = set()


def help_of(words):
    if words not in HELP:
        done = ran(CONNECTOR, *words, "--help")
        HELP[words] = done.stdout if done.returncode == 0 else None
    return HELP[words]


def the_commands(where, text):
    """Each command that a text names exists, with its flags; so does each error."""
    for found in re.finditer(r"(?<!-u )(?<!status )(?<!restart )\bapono-connector((?: +[^\s`#|]+)+)", text):
        given = found[1].split()
        words = []
        for word in given:
            if not re.fullmatch(r"[a-z-]*[a-z]", word) or word.startswith("-"):
                break
            words.append(word)
        if not words:
            continue
        # `explain` and `log-level set` have arguments of their own.
        while len(words) > 1 and help_of(tuple(words)) is None:
            words.pop()
        helped = help_of(tuple(words))
        holds(f"{where}: there is a command {found[0]!r}", helped is not None)
        for flag in re.findall(r"--[a-z-]+", found[1]):
            holds(f"{where}: {' '.join(words)} has {flag}", flag in helped)
        commands.add(found[0].strip())
    for code in re.findall(r"AOC-\d{4}", text):
        if code not in codes:
            done = ran(CONNECTOR, "explain", code)
            holds(f"{where}: there is an error {code}", done.returncode == 0 and done.stdout)
            codes.add(code)


def the_runbook():
    sections = re.split(r"^### (.+)\n", RUNBOOK, flags=re.MULTILINE)
    entries = dict(zip(sections[1::2], sections[2::2], strict=True))
    holds(f"each alert has an entry: {set(RULES) - set(entries)}", set(RULES) <= set(entries))
    holds(f"each entry has an alert: {set(entries) - set(RULES)}", set(entries) <= set(RULES))
    for name, entry in entries.items():
        parts = re.findall(r"^\*\*(\w+)\.\*\*", entry, flags=re.MULTILINE)
        holds(f"the entry {name} has all parts: {parts}", parts == PARTS)
        look = entry.split("**Look.**")[1].split("**Cure.**")[0]
        holds(f"the entry {name} says what to run", "```sh" in look or "As for" in look)
    the_commands("the runbook", RUNBOOK)
    anchors = {
        re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.+)", RUNBOOK, re.MULTILINE)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", RUNBOOK):
        holds(f"the runbook has {anchor}", anchor in anchors)
    probes = set(
        re.findall(r"`?\b((?:okta|apono|scim|state|audit)\.(?:[a-z]+))\b", "\n".join(re.findall(r"doctor.*", RUNBOOK)))
    )
    known = pathlib.Path("docs/doctor.md").read_text()
    for probe in probes:
        holds(f"doctor has the probe {probe}", f"`{probe}" in known)
    print(
        f"-- runbook: {len(entries)} entries for {len(RULES)} alerts; {len(commands)} commands and {len(codes)} errors exist"
    )


# -- Dashboard ------------------------------------------------------------------------------------------------------------


def filled_in(expression):
    for name, value in {"$__rate_interval": "1m", "$instance": ".*", "$integration": ".*"}.items():
        expression = expression.replace(name, value)
    return expression


def expressions():
    """(where, expression) of everything on the dashboard that asks."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]


def the_dashboard():
    source = {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    holds("the data source is a variable", variables["datasource"]["type"] == "datasource")
    holds("so are instance and organization", {"instance", "integration"} <= set(variables))
    holds("it has a name of its own", DASHBOARD["uid"] and DASHBOARD["title"] and "id" not in DASHBOARD)
    panels = DASHBOARD["panels"]
    numbers = [panel["id"] for panel in panels]
    holds("each panel has a number of its own", len(set(numbers)) == len(numbers))
    taken = set()
    for panel in panels:
        title, place = panel["title"], panel["gridPos"]
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in lines}
        holds(f"{title} lies on nothing else, and not outside", not cells & taken and columns.stop <= 24)
        taken |= cells
        if panel["type"] == "row":
            continue
        holds(f"{title} says what it shows", panel["description"])
        holds(f"{title} has a unit", panel["fieldConfig"]["defaults"].get("unit"))
        holds(f"{title} has the chosen source", panel["datasource"] == source)
        names = [target["refId"] for target in panel["targets"]]
        holds(f"{title} asks something, each under its own name", names and len(set(names)) == len(names))
        for target in panel["targets"]:
            holds(f"{title} asks the chosen source", target["datasource"] == source)
    rules = []
    for title, expression in expressions():
        used = set(re.findall(r"\$\{?([a-z]\w+)", expression))
        holds(f"{title} uses variables that there are: {used}", used <= set(variables))
        for metric in metrics_of(expression) - OF_PROMETHEUS:
            holds(f"{title} asks for the chosen instance", f'{metric}{{instance=~"$instance"' in expression)
        rules.append({"record": f"panel:{len(rules)}", "expr": filled_in(expression)})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        done = ran(PROMTOOL, "check", "rules", "--lint=none", file.name)
    holds(f"promtool takes each expression: {done.stdout}{done.stderr}", done.returncode == 0)
    shown = sum(panel["type"] != "row" for panel in panels)
    print(f"-- dashboard: {shown} panels, {len(rules)} expressions, no findings")


# -- The running connector ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def demonstration():
    """The connector against its simulators, once its story is told: where it listens, and the folder of its files."""
    with tempfile.TemporaryFile("w+") as told:
        command = [CONNECTOR, "demo", "--keep-running", "--users=50", "--groups=10"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)

        def place():
            told.seek(0)
            text = told.read()
            if process.poll() is not None:
                sys.exit(f"the demonstration ended too soon:\n{text}")
            _, _, end = text.partition("Everything stays up until Ctrl-C")
            found = re.search(r"connector +(http://\S+)/\n(?:.*\n)*? +configuration +(\S+)/", end)
            return found and (found[1], pathlib.Path(found[2]))

        try:
            yield until("the demonstration has told its story", place)
            process.send_signal(signal.SIGINT)
            told.seek(0)
            holds(f"the demonstration held: {told.read()}", process.wait(60) == 0)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)


def fetched(url, accept=None):
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def names_of(exposition):
    """What can be asked for: names of samples, by the lines of type."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", exposition, flags=re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


def labels_of(exposition):
    """The labels of each sample, by its name."""
    labels = {}
    for name, part in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", exposition, flags=re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', part))
    return labels


def the_labels(where, expression, shown, labels):
    """What is asked for by label, counted by label, or written out, is a label of what is asked for."""
    of_the_target = {"job", "instance", "namespace"}
    metrics = metrics_of(expression) & set(labels)
    if not metrics:
        return
    theirs = of_the_target.union(*(labels[metric] for metric in metrics))
    for metric, part in re.findall(r"(\w+)\{([^}]*)\}", expression):
        if metric in labels:
            asked = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', part))
            unknown = asked - labels[metric] - of_the_target
            holds(f"{where}: {metric} has the labels {unknown}", not unknown)
    grouped = {
        name.strip() for part in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", expression) for name in part.split(",")
    }
    unknown = (grouped | set(shown)) - theirs - {"le"}
    holds(f"{where}: there are the labels {unknown}", not unknown)


def what_is_exported(address):
    kind, exposition = fetched(f"{address}/metrics", "text/plain")
    holds(f"who asks for text gets text: {kind}", kind.startswith("text/plain"))
    done = ran(PROMTOOL, "check", "metrics", input=exposition)
    holds(
        f"promtool finds nothing in the metrics: {done.stdout}{done.stderr}", done.returncode == 0 and not done.stderr
    )
    kind, _ = fetched(f"{address}/metrics", "application/openmetrics-text; version=1.0.0")
    holds(f"who asks for OpenMetrics gets it: {kind}", kind.startswith("application/openmetrics-text"))

    there = names_of(exposition) | set(NO_OCCASION)
    wanted = {}
    for name, rule in RULES.items():
        for metric in metrics_of(rule["expr"]):
            wanted.setdefault(metric, name)
    for title, expression in expressions():
        for metric in metrics_of(expression):
            wanted.setdefault(metric, title)
    missing = {metric: where for metric, where in wanted.items() if metric not in there | OF_PROMETHEUS}
    holds(f"what is asked for is exported: {missing}", not missing)
    base = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in wanted}
    unseen = {name for name in there if re.sub(r"_(bucket|sum|count)$", "", name) not in base} - NOT_LOOKED_AT
    holds(f"what is exported is looked at: {sorted(unseen)}", not unseen)
    labels = NO_OCCASION | labels_of(exposition)
    for name, rule in RULES.items():
        the_labels(name, rule["expr"], re.findall(r"\$labels\.(\w+)", str(rule["annotations"])), labels)
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            the_labels(panel["title"], target["expr"], re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]), labels)
    families = len(re.findall(r"^# TYPE ", exposition, flags=re.MULTILINE))
    print(f"-- /metrics: no findings in {families} metrics; {len(wanted)} names that are asked for are there")


@contextlib.contextmanager
def prometheus(address):
    """A Prometheus that reads the connector every second and minds the alerts."""
    with tempfile.TemporaryDirectory() as folder:
        config, log, port = pathlib.Path(folder, "prometheus.yaml"), pathlib.Path(folder, "log"), free_port()
        target = {"targets": [urllib.parse.urlsplit(address).netloc]}
        about = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str((FOLDER / "alerts.yaml").resolve())],
            "scrape_configs": [{"job_name": "apono-connector", "static_configs": [target]}],
        }
        config.write_text(yaml.safe_dump(about))
        command = [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield lambda path, **asked: json.loads(
                fetched(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(asked)}")[1]
            )["data"]
        finally:
            process.terminate()
            process.wait(60)


def what_prometheus_makes_of_it(address, folder):
    with prometheus(address) as ask:

        def firing():
            alerts = (alert for alert in ask("alerts")["alerts"] if alert["state"] == "firing")
            return {alert["labels"]["alertname"]: alert for alert in alerts}

        def answers():
            """Once everything that must have an answer has one."""
            found = {}
            for title, expression in expressions():
                result = ask("query", query=filled_in(expression))["result"]
                if not result and not metrics_of(expression) & (set(NO_OCCASION) | OF_PROMETHEUS) and title != "Starts":
                    answers.waits = f"{title}: {expression}"
                    return None
                found[(title, expression)] = len(result)
            return found

        answers.waits = "Prometheus"
        try:
            found = until("each panel has something to show", answers)
        except SystemExit as late:
            sys.exit(f"{late}; nothing came of {answers.waits}")
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        holds("Prometheus minds each alert", {rule["name"] for rule in rules} == set(RULES))
        for rule in rules:
            holds(f"Prometheus can ask for {rule['name']}: {rule.get('lastError')}", rule["health"] != "err")
        holds(f"nothing is wrong, and nothing is said to be: {firing()}", not firing())

        # The alerts that wait for nothing can be seen at work.
        secret = folder / "okta-credentials.json"
        broken = secret.with_name("broken")
        broken.write_text("{}")
        broken.chmod(0o600)
        broken.rename(secret)
        alert = until("a secret that cannot be used is told", lambda: firing().get("AponoConnectorSecretRefused"))
        holds(f"by its name: {alert}", alert["labels"]["secret"] in alert["annotations"]["summary"])
    shown = sum(count > 0 for count in found.values())
    print(f"-- Prometheus: {shown} of {len(found)} expressions show the demonstration; no alert fires")
    print(f"   until a secret is broken: {alert['annotations']['summary']}")


began = time.monotonic()
the_rules()
every_change_is_noticed()
what_is_read()
the_runbook()
the_dashboard()
with demonstration() as (admin, files):
    what_is_exported(admin)
    what_prometheus_makes_of_it(admin, files)
print(f"monitoring: {held()} assertions hold, in {time.monotonic() - began:.0f} s")
