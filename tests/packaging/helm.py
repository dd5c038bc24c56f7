"""Renders the chart with a real Helm and holds it against what it promises.

helm.py HELM CONNECTOR FOLDER_OF_PYTHON_TOOLS
"""

import copy
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import tomllib

import yaml
from checks import held, holds, ran
from cloudcoil.models.prometheus_operator import v1 as operator

sys.stdout.reconfigure(line_buffering=True)
HELM, CONNECTOR, TOOLS = sys.argv[1:4]
CHART = "helm/apono-connector"
KUBERNETES = ["1.28", "1.31", "1.34", "1.37"]
# Kubernetes' own schemas know nothing of these; the operator's models do.
OF_THE_OPERATOR = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
DIGEST = "sha256:" + "0" * 64
# What checkov finds, and why it stays so.
NOT_DONE = {"CKV_K8S_11": "a limit on processor time would make removals wait"}
NOT_BY_DEFAULT = {
    "CKV_K8S_15": "what a tag names is fetched once: a registry that is away keeps nobody's access from ending",
    "CKV_K8S_40": "no user is pinned, for OpenShift gives its own; hostUsers: false is the way where there are user namespaces",
    "CKV_K8S_43": "no image is published whose digest could stand there",
}
NOT_FOR_TESTS = {
    "CKV_K8S_8": "it ends by itself",
    "CKV_K8S_9": "nobody calls it",
}
GOOD = {
    "apono": {"connectorId": "okta-connector", "existingSecret": {"name": "apono"}},
    "okta": [
        {
            "integrationId": "069cf551-c124-43f6",
            "organizationUrl": "https://example.okta.com",
            "existingSecret": {"name": "okta-example"},
            "config": {"dpop": "on", "directory": {"groups": ["aws-*"], "interval": "10m"}},
        }
    ],
}
FLEET = {
    "replicas": 3,
    "state": {
        "postgres": {
            "url": "postgres://connector@db1.example.com,db2.example.com:6432/connector",
            "existingSecret": {"name": "database"},
        }
    },
}


def merged(base, changes):
    base = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merged(base[key], value) if both else value
    return base


def helm(*arguments, values=None):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return ran(HELM, *arguments, *(["-f", file.name] if values is not None else []))


def rendered(changes=None, *more, tests=False):
    """What is installed; with `tests=True`, what `helm test` makes as well."""
    more = [*more] if tests else [*more, "--skip-tests"]
    done = helm("template", "rel", CHART, "-n", "apono", *more, values=merged(GOOD, changes or {}))
    if done.returncode != 0:
        sys.exit(f"it does not render: {done.stderr}")
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return done.stdout, {document["kind"]: document for document in documents}, documents


def refused(changes, part):
    done = helm("template", "rel", CHART, values=merged(GOOD, changes))
    holds(f"refused, by {part!r}: {changes} ({done.stderr.strip()})", done.returncode != 0 and part in done.stderr)


def checked_by_the_connector(config):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        done = ran(CONNECTOR, "config", "check", "--without-secrets", "--config", file.name)
        holds(f"the connector takes its configuration: {done.stderr}\n{config}", done.returncode == 0)
    return tomllib.loads(config)


def pod(kinds):
    return kinds["StatefulSet"]["spec"]["template"]["spec"]


def the_usual():
    text, kinds, documents = rendered()
    holds("two renders are equal", text == rendered()[0])
    expected = {"StatefulSet", "ConfigMap", "Service", "ServiceAccount", "NetworkPolicy"}
    holds(f"what there is: {sorted(kinds)}", set(kinds) == expected)
    for document in documents:
        labels = document["metadata"]["labels"]
        for label in [
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/version",
            "helm.sh/chart",
        ]:
            holds(f"{document['kind']} has {label}", label in labels)
    spec, container = pod(kinds), pod(kinds)["containers"][0]
    holds("one pod", kinds["StatefulSet"]["spec"]["replicas"] == 1)
    holds("which is spread over nothing", "topologySpreadConstraints" not in spec)
    holds("no token of the cluster", spec["automountServiceAccountToken"] is False)
    holds("nor by its account", kinds["ServiceAccount"]["automountServiceAccountToken"] is False)
    security = spec["securityContext"]
    holds("not root", security["runAsNonRoot"] is True)
    holds("no user is pinned", "runAsUser" not in security and "runAsUser" not in container["securityContext"])
    holds("no group is pinned", "runAsGroup" not in security and "runAsGroup" not in container["securityContext"])
    holds("the volume is its group's", security["fsGroup"] == 65532)
    holds("seccomp", security["seccompProfile"] == {"type": "RuntimeDefault"})
    holds("no more rights", container["securityContext"]["allowPrivilegeEscalation"] is False)
    holds("its root cannot be written", container["securityContext"]["readOnlyRootFilesystem"] is True)
    holds("no capabilities", container["securityContext"]["capabilities"] == {"drop": ["ALL"]})
    holds("no environment", "env" not in container and "envFrom" not in container)
    holds("time for what was begun", spec["terminationGracePeriodSeconds"] >= 60)
    holds("requests", container["resources"]["requests"]["memory"] and container["resources"]["requests"]["cpu"])
    holds("a limit of memory", container["resources"]["limits"]["memory"])
    holds("no limit of time on the processor", "cpu" not in container["resources"]["limits"])
    holds("a version", container["image"] == "ghcr.io/apono-connector:0.1.0")
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        holds(probe, container[probe]["httpGet"] == {"path": path, "port": "admin"})
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    holds("no subPath", not any("subPath" in mount for mount in mounts.values()))
    for name in ["config", "apono", "okta-0"]:
        holds(f"{name} is only read", mounts[name]["readOnly"] is True)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    holds("the token's Secret", volumes["apono"]["secret"] == {"secretName": "apono", "defaultMode": 0o440})
    holds("Okta's Secret", volumes["okta-0"]["secret"] == {"secretName": "okta-example", "defaultMode": 0o440})
    claim = kinds["StatefulSet"]["spec"]["volumeClaimTemplates"][0]
    holds("a volume of its own", claim["metadata"]["name"] == "state" and "state" not in volumes)
    holds("for one node", claim["spec"]["accessModes"] == ["ReadWriteOnce"])
    config = kinds["ConfigMap"]["data"]["connector.toml"]
    holds("no secret in the configuration", "private" not in config)
    for line in [
        'token_file = "/run/secrets/apono-connector/apono/apono-token"',
        'credentials_file = "/run/secrets/apono-connector/okta-0/okta-credentials.json"',
        'url = "sqlite:/var/lib/apono-connector/state.db"',
        'dpop = "on"',
    ]:
        holds(f"the configuration has {line}", line in config)
    checked_by_the_connector(config)
    policy = kinds["NetworkPolicy"]["spec"]
    holds("both ways", policy["policyTypes"] == ["Ingress", "Egress"])
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    holds("no metadata service", all("169.254.0.0/16" in block["except"] or ":" in block["cidr"] for block in blocks))
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    holds("names and HTTPS alone", sorted(set(ports)) == [53, 443])


def the_unusual():
    _, kinds, _ = rendered(None, "--api-versions", "security.openshift.io/v1")
    holds("OpenShift gives the group", "fsGroup" not in pod(kinds)["securityContext"])

    trial = {
        "apono": {"existingSecret": {"name": ""}, "token": "placeholder"},
        "okta": [
            {
                "integrationId": "x",
                "organizationUrl": "https://example.okta.com",
                "credentials": "{}",
            }
        ],
        "persistence": {"enabled": False, "acceptLossOfState": True},
    }
    text, kinds, documents = rendered(trial)
    names = sorted(document["metadata"]["name"] for document in documents if document["kind"] == "Secret")
    holds(f"Secrets of a trial: {names}", names == ["rel-apono-connector-apono", "rel-apono-connector-okta-0"])
    mounted = sorted(v["secret"]["secretName"] for v in pod(kinds)["volumes"] if "secret" in v)
    holds("which are mounted", mounted == names)
    holds("a volume that goes with the pod", {"name": "state", "emptyDir": {}} in pod(kinds)["volumes"])
    holds("no claim", "volumeClaimTemplates" not in kinds["StatefulSet"]["spec"])
    checked_by_the_connector(kinds["ConfigMap"]["data"]["connector.toml"])

    second = {
        "integrationId": "y",
        "organizationUrl": "https://other.okta.com",
        "existingSecret": {"name": "s", "key": "k.json"},
    }
    everything = {
        "okta": [*GOOD["okta"], second],
        "proxy": {"httpsProxy": "http://proxy:3128", "noProxy": "10.0.0.0/8", "existingSecret": {"name": "proxy"}},
        "caBundle": {"existingConfigMap": "corporate"},
        "config": {"log": {"level": "debug"}, "custom_integration": {"enabled": False}},
        "podDisruptionBudget": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"egress": {"proxyCIDR": "10.1.2.3/32"}},
        "image": {"tag": "sha256:" + "0" * 64},
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}],
    }
    text, kinds, documents = rendered(everything)
    container = pod(kinds)["containers"][0]
    holds("the proxy", {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container["env"])
    holds("and what goes without", {"name": "NO_PROXY", "value": "10.0.0.0/8"} in container["env"])
    holds("a digest", container["image"].startswith("ghcr.io/apono-connector@sha256:"))
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    for part in ["okta-0", "okta-1", "ca", "proxy"]:
        holds(f"{part} is mounted", f"/run/secrets/apono-connector/{part}" in paths)
    config = next(d for d in documents if d["metadata"]["name"] == "rel-apono-connector" and d["kind"] == "ConfigMap")
    config = config["data"]["connector.toml"]
    for line in [
        '/run/secrets/apono-connector/ca/ca.pem"',
        '/run/secrets/apono-connector/proxy/proxy-credentials"',
        'okta-1/k.json"',
        'level = "debug"',
    ]:
        holds(f"the configuration has {line}", line in config)
    checked_by_the_connector(config)
    holds("what is added is a template", any(d["metadata"]["name"] == "rel-more" for d in documents))
    holds("a budget", kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1)
    holds("Prometheus", kinds["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus")
    blocks = [
        to["ipBlock"]["cidr"]
        for rule in kinds["NetworkPolicy"]["spec"]["egress"]
        for to in rule.get("to", [])
        if "ipBlock" in to
    ]
    holds("out to the proxy alone", blocks == ["10.1.2.3/32"])
    before = rendered()[1]["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    after = kinds["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    holds("another configuration starts another pod", before != after)
    return text


def mistakes():
    one = GOOD["okta"][0]
    refused({"apono": {"connectorId": ""}}, "apono.connectorId is required")
    refused({"apono": {"existingSecret": {"name": ""}}}, "apono.existingSecret.name is required")
    refused({"apono": {"token": "placeholder"}}, "not both")
    refused({"okta": []}, "at least one organization")
    refused({"okta": [merged(one, {"existingSecret": {"name": ""}})]}, "okta[0].existingSecret.name is required")
    refused({"okta": [merged(one, {"credentials": "{}"})]}, "not both")
    refused({"okta": [merged(one, {"organizationUrl": "http://example.okta.com"})]}, "organizationUrl")
    refused({"okta": [merged(one, {"orgUrl": "x"})]}, "orgUrl")
    refused({"replicas": 2}, "name a database that they share in state.postgres.url")
    for number in [0, "2", 1.5]:
        refused(merged(FLEET, {"replicas": number}), "replicas")
    given = FLEET["state"]["postgres"]["url"]
    for url in [given.replace("connector@", "connector:placeholder@"), given.replace("connector@", "c:place/holder@")]:
        refused({"state": {"postgres": {"url": url, "existingSecret": {"name": "database"}}}}, "put it into a Secret")
    refused({"state": {"postgres": {"url": "mysql://connector@db/connector"}}}, "url")
    refused({"state": {"postgres": {"url": given}}}, "state.postgres.existingSecret.name is required")
    refused({"state": {"postgres": {"existingSecret": {"name": "database"}}}}, "without state.postgres.url")
    refused({"state": {"postgres": {"password": "placeholder"}}}, "password")
    refused({"state": {"directory": "/srv"}}, "directory")
    refused({"config": {"state": {"url": given}}}, "config.state is the chart's own")
    refused({"podDisruptionBudget": {"enabled": "yes"}}, "enabled")
    refused({"networkPolicy": {"egress": {"databaseTo": ["10.0.0.0/8"]}}}, "databaseTo")
    refused({"topologySpreadConstraints": [{"topologyKey": "rack"}]}, "topologySpreadConstraints")
    refused({"persistence": {"enabled": False}}, "acceptLossOfState")
    refused({"proxy": {"httpsProxy": "http://user:placeholder@proxy"}}, "httpsProxy")
    refused({"image": {"tag": "latest"}}, "tag")
    refused({"apono": {"existingSecret": {"name": "a", "subPath": "b"}}}, "subPath")
    refused({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds")
    refused({"replicaCount": 1}, "replicaCount")
    refused({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "enable one")
    refused(
        {"prometheusRule": {"enabled": True, "disabled": ["AponoConnectorSlow"]}},
        "there is no alert AponoConnectorSlow",
    )
    refused({"prometheusRule": {"runbookUrl": "docs/runbook.md"}}, "runbookUrl")
    refused({"prometheusRule": {"extraRules": [{"expr": "1"}]}}, "extraRules")
    refused({"prometheusRule": {"rules": []}}, "rules")
    refused({"podMonitor": {"interval": "30"}}, "interval")
    refused({"serviceMonitor": {"intervall": "30s"}}, "intervall")
    refused({"dashboard": {"labels": {"grafana_dashboard": 1}}}, "grafana_dashboard")
    refused({"hostUsers": "no"}, "hostUsers")
    refused({"extraSecrets": ["../token"]}, "extraSecrets")
    refused({"extraSecrets": ["scim", "scim"]}, "extraSecrets")
    refused({"killSwitch": {"file": "/stop"}}, "file")
    refused({"test": {"enabled": True}}, "enabled")
    refused({"persistence": {"size": "1G"}}, "size")
    refused({"apono": {"metadata": "site"}}, "metadata")


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def selects(labels, selector):
    for one in selector.get("matchExpressions", []):
        holds(f"an operator that is understood: {one}", one["operator"] == "In")
        if labels.get(one["key"]) not in one["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def of_the_release():
    """Everything is of the release and its namespace, and finds what it looks for."""
    everything = {
        "serviceMonitor": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    }
    _, kinds, documents = rendered(everything, tests=True)
    for document in documents:
        about = document["metadata"]
        holds(f"{document['kind']} says its namespace", about["namespace"] == "apono")
        holds(f"{document['kind']} says its release", about["labels"]["app.kubernetes.io/instance"] == "rel")
        holds(f"{document['kind']} is named after it", about["name"].startswith("rel-apono-connector"))
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    holds(f"no two of a kind have one name: {names}", len(set(names)) == len(names))
    labels = kinds["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    tests = [document["metadata"]["labels"] for document in of_kind(documents, "Pod")]
    finders = {
        "StatefulSet": kinds["StatefulSet"]["spec"]["selector"],
        "Service": {"matchLabels": kinds["Service"]["spec"]["selector"]},
        "PodDisruptionBudget": kinds["PodDisruptionBudget"]["spec"]["selector"],
        "NetworkPolicy": kinds["NetworkPolicy"]["spec"]["podSelector"],
    }
    for kind, selector in finders.items():
        holds(f"{kind} finds the pod", selects(labels, selector))
        for one in tests:
            holds(f"{kind} and the pods that test", selects(one, selector) == (kind == "NetworkPolicy"))
        strange = {**labels, "app.kubernetes.io/name": "other"}
        holds(f"{kind} finds nothing else of the release", not selects(strange, selector))
    monitor = kinds["ServiceMonitor"]["spec"]
    holds("Prometheus finds the Service", selects(kinds["Service"]["metadata"]["labels"], monitor["selector"]))
    port = monitor["endpoints"][0]
    holds("and its port", port["port"] in {one["name"] for one in kinds["Service"]["spec"]["ports"]})
    holds("and the metrics", port["path"] == "/metrics" and port["interval"] == "30s")
    holds("the Service shows who is not ready", kinds["Service"]["spec"]["publishNotReadyAddresses"] is True)


def where_things_are():
    """Every file that the configuration names is in a folder that is mounted from where it belongs."""
    extra = "/run/secrets/apono-connector/extra"
    more = {
        "extraSecrets": ["scim", "gateway"],
        "killSwitch": {"configMap": "stop-grants"},
        "caBundle": {"existingConfigMap": "corporate"},
        "proxy": {"httpsProxy": "http://proxy:3128", "existingSecret": {"name": "proxy"}},
        "apono": {
            "metadata": {"site": "Köln & Bonn", "rack": 7},
            "config": {
                "client_certificate_file": f"{extra}/gateway/tls.crt",
                "client_key_file": f"{extra}/gateway/tls.key",
            },
        },
    }
    scim = {"base_url": "https://scim.example.com", "token_file": f"{extra}/scim/token"}
    one = merged(GOOD["okta"][0], {"config": {"scim": scim, "access": {"policy": {"max_duration": "8h"}}}})
    text, kinds, _ = rendered(
        {**more, "okta": [one, {**one, "integrationId": "second", "organizationUrl": "https://other.okta.com"}]}
    )
    config = checked_by_the_connector(kinds["ConfigMap"]["data"]["connector.toml"])
    container, volumes = pod(kinds)["containers"][0], {one["name"]: one for one in pod(kinds)["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {one["metadata"]["name"] for one in kinds["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    holds("what is mounted is there", set(mounts.values()) == set(volumes) | claims)

    def files(value, key=""):
        if isinstance(value, dict):
            for name, part in value.items():
                yield from files(part, name)
        elif isinstance(value, list):
            for part in value:
                yield from files(part, key)
        elif key.endswith("file"):
            yield value

    named = list(files(config))
    holds(f"the configuration names files: {named}", len(named) == 12)
    for file in named:
        holds(f"{file} is in a folder that is mounted", os.path.dirname(file) in mounts)
    for name in ["scim", "gateway"]:
        volume = volumes[mounts[f"{extra}/{name}"]]
        holds(f"{name} is the Secret", volume["secret"] == {"secretName": name, "defaultMode": 0o440})
    for okta in config["okta"]:
        policy = okta["access"]["policy"]
        holds(
            "each organization has the kill switch",
            policy["kill_switch_file"] == "/run/apono-connector/kill-switch/stop",
        )
        holds("beside its own policy", policy["max_duration"] == "8h")
    switch = volumes[mounts["/run/apono-connector/kill-switch"]]["configMap"]
    holds("which need not be there", switch == {"name": "stop-grants", "optional": True})
    told = next(one["value"] for one in container["env"] if one["name"] == "CONNECTOR_METADATA")
    holds("Apono is told", json.loads(told) == {"site": "Köln & Bonn", "rack": 7})
    for mount in container["volumeMounts"]:
        holds(
            f"{mount['name']} is only read, but for the state",
            mount.get("readOnly", False) == (mount["name"] != "state"),
        )
    holds("no user namespace, unless asked for", "hostUsers" not in pod(kinds))
    for value in [True, False]:
        holds("as asked for", pod(rendered({"hostUsers": value})[1])["hostUsers"] is value)
    return text


def egress(kinds, number):
    """Where that port may be reached."""
    rules = kinds["NetworkPolicy"]["spec"]["egress"]
    found = [rule["to"] for rule in rules if any(port["port"] == number for port in rule["ports"])]
    holds(f"one rule lets {number} out", len(found) == 1)
    return found[0]


def a_fleet():
    """Several pods, whose state is in PostgreSQL."""
    text, kinds, documents = rendered(FLEET)
    holds("two renders of a fleet are equal", text == rendered(FLEET)[0])
    about, spec = kinds["StatefulSet"]["spec"], pod(kinds)
    container, volumes = spec["containers"][0], {volume["name"]: volume for volume in spec["volumes"]}
    labels = about["template"]["metadata"]["labels"]
    holds("three pods", about["replicas"] == 3)
    holds("which begin at once", about["podManagementPolicy"] == "Parallel")
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    holds("and are replaced one after the other", about["updateStrategy"] == strategy)
    # A daemon that is silent for four seconds counts as gone; one that is new is heard of in one.
    holds("each after the others have heard of the one before", about["minReadySeconds"] > 4)
    holds("with time for what was begun", spec["terminationGracePeriodSeconds"] >= 60)
    budget = kinds["PodDisruptionBudget"]["spec"]
    holds("a budget without being asked for", budget["maxUnavailable"] == 1 and "minAvailable" not in budget)
    holds("of its pods", selects(labels, budget["selector"]))
    places = {one["topologyKey"]: one for one in spec["topologySpreadConstraints"]}
    holds("spread over nodes and zones", set(places) == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
    for place, one in places.items():
        holds(f"{place}: as far as can be", one["whenUnsatisfiable"] == "ScheduleAnyway" and one["maxSkew"] == 1)
        holds(f"{place}: its pods are counted", selects(labels, one["labelSelector"]))
    secret = {"secretName": "database", "defaultMode": 0o440}
    holds("the password's Secret", volumes["postgres"]["secret"] == secret)
    mount = next(one for one in container["volumeMounts"] if one["name"] == "postgres")
    holds("is a folder that is only read", mount["readOnly"] is True and "subPath" not in mount)
    holds("and nothing of it is in the environment", "env" not in container and "envFrom" not in container)
    config = checked_by_the_connector(kinds["ConfigMap"]["data"]["connector.toml"])
    state = config["state"]
    holds("the database is the one that is named", state["url"] == FLEET["state"]["postgres"]["url"])
    folder, name = os.path.split(state["password_file"])
    holds("the password is in that folder", folder == mount["mountPath"] and name == "postgres-password")
    writable = next(one["mountPath"] for one in container["volumeMounts"] if one["name"] == "state")
    holds("a pod's own files are in its volume", state["directory"] == writable)
    holds("its audit trail too", os.path.dirname(config["audit"]["file"]) == writable)
    claim = about["volumeClaimTemplates"][0]["spec"]
    holds("each has one of its own", claim["accessModes"] == ["ReadWriteOnce"] and "state" not in volumes)
    everywhere = egress(kinds, 443)
    for number in [5432, 6432]:
        holds(f"port {number} is open as 443 is, and nowhere else", egress(kinds, number) == everywhere)

    other = {
        "persistence": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {
            "egress": {"proxyCIDR": "10.1.2.3/32", "databaseTo": [{"ipBlock": {"cidr": "10.4.0.0/16"}}]}
        },
        "state": {
            "postgres": {"url": "postgres://c@[2001:db8::7]:6543/c", "existingSecret": {"key": "word"}}
        },
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
            {
                "maxSkew": 1,
                "topologyKey": "row",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "other"}},
            },
        ],
    }
    _, kinds, documents = rendered(merged(FLEET, other))
    about, spec = kinds["StatefulSet"]["spec"], pod(kinds)
    holds("without a volume, unless it is wanted", {"name": "state", "emptyDir": {}} in spec["volumes"])
    holds("nor a claim", "volumeClaimTemplates" not in about)
    holds("no budget, where none is wanted", "PodDisruptionBudget" not in kinds)
    holds("out to the database where it is", egress(kinds, 6543) == [{"ipBlock": {"cidr": "10.4.0.0/16"}}])
    rules = kinds["NetworkPolicy"]["spec"]["egress"]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    holds(f"and to names and the proxy: {ports}", ports == {53, 3128, 6543})
    rack, row = spec["topologySpreadConstraints"]
    holds("spread as it is said", (rack["maxSkew"], rack["whenUnsatisfiable"]) == (2, "DoNotSchedule"))
    holds("by its own labels", selects(about["template"]["metadata"]["labels"], rack["labelSelector"]))
    holds("unless others are given", row["labelSelector"] == {"matchLabels": {"app": "other"}})
    config = checked_by_the_connector(kinds["ConfigMap"]["data"]["connector.toml"])
    holds("another key", config["state"]["password_file"].endswith("/postgres/word"))

    _, kinds, documents = rendered(FLEET, tests=True)
    for document in of_kind(documents, "Pod"):
        name, container = document["metadata"]["name"], document["spec"]["containers"][0]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        holds(f"{name} has the password", "postgres" in mounts)
        holds(f"{name} is spread over nothing", "topologySpreadConstraints" not in document["spec"])

    one = rendered(merged(FLEET, {"replicas": 1}))[1]
    config = checked_by_the_connector(one["ConfigMap"]["data"]["connector.toml"])
    holds("one pod can have its state there too", config["state"]["url"].startswith("postgres://"))
    holds("and needs no budget", "PodDisruptionBudget" not in one)
    # Kubernetes lets nobody change it: the same for one pod and for several, or none could become several.
    sets = [kinds["StatefulSet"]["spec"] for kinds in [rendered()[1], one, rendered(FLEET)[1]]]
    policies = {each["podManagementPolicy"] for each in sets}
    holds("one pod can become several", policies == {"Parallel"})
    return text


def what_prometheus_gets():
    source = yaml.safe_load(pathlib.Path("deploy/monitoring/alerts.yaml").read_text())
    names = [rule["alert"] for group in source["groups"] for rule in group["rules"]]
    nothing = rendered()[1]
    holds("nothing of it, unless asked for", not OF_THE_OPERATOR & set(nothing))
    _, kinds, _ = rendered({"prometheusRule": {"enabled": True}})
    holds("the alerts are those of deploy/monitoring", kinds["PrometheusRule"]["spec"] == source)
    changes = {
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "alertLabels": {"team": "identity"},
            "disabled": [names[0], names[-1]],
            "runbookUrl": "https://git.example.com/runbook.md",
            "extraRules": [{"record": "connector:ready", "expr": "min(apono_connector_ready)"}],
        },
        "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    }
    text, kinds, _ = rendered(changes)
    rules = [rule for group in kinds["PrometheusRule"]["spec"]["groups"] for rule in group["rules"]]
    holds("those that are left", [rule["alert"] for rule in rules[:-1]] == names[1:-1])
    holds("and more", rules[-1] == changes["prometheusRule"]["extraRules"][0])
    for rule in rules[:-1]:
        anchor = f"#{rule['alert'].lower()}"
        holds(
            f"{rule['alert']} leads to the runbook",
            rule["annotations"]["runbook_url"] == f"https://git.example.com/runbook.md{anchor}",
        )
        holds(f"{rule['alert']} has its labels", rule["labels"]["team"] == "identity" and rule["labels"]["severity"])
    holds("a group without alerts is none", all(group["rules"] for group in kinds["PrometheusRule"]["spec"]["groups"]))
    for kind in ["PrometheusRule", "PodMonitor"]:
        holds(f"Prometheus picks the {kind}", kinds[kind]["metadata"]["labels"]["release"] == "prometheus")
    labels = kinds["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    holds("the PodMonitor finds the pod", selects(labels, kinds["PodMonitor"]["spec"]["selector"]))
    endpoint = kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    ports = {port["name"] for port in pod(kinds)["containers"][0]["ports"]}
    holds("and its port", endpoint == {"port": "admin", "path": "/metrics", "interval": "15s"} and "admin" in ports)
    return text


def what_grafana_gets():
    source = json.loads(pathlib.Path("deploy/monitoring/dashboard.json").read_text())
    _, _, documents = rendered({"dashboard": {"enabled": True}})
    maps = {one["metadata"]["name"]: one for one in of_kind(documents, "ConfigMap")}
    one = maps["rel-apono-connector-dashboard"]
    holds("the dashboard is that of deploy/monitoring", json.loads(one["data"]["apono-connector.json"]) == source)
    holds("the sidecar picks it", one["metadata"]["labels"]["grafana_dashboard"] == "1")
    changes = {
        "enabled": True,
        "labels": {"dashboards": "yes"},
        "annotations": {"folder": "Access"},
        "namespace": "grafana",
    }
    text, _, documents = rendered({"dashboard": changes})
    about = next(one["metadata"] for one in of_kind(documents, "ConfigMap") if "dashboard" in one["metadata"]["name"])
    holds("elsewhere, by other labels", about["namespace"] == "grafana" and about["labels"]["dashboards"] == "yes")
    holds("in a folder", about["annotations"] == {"folder": "Access"})
    return text


def the_test():
    """What `helm test` runs: the connector's own program, as its pod would."""
    trial = {"extraSecrets": ["scim"], "nodeSelector": {"disk": "local"}, "proxy": {"httpsProxy": "http://proxy:3128"}}
    text, kinds, documents = rendered(trial, tests=True)
    pods = {document["metadata"]["name"]: document for document in of_kind(documents, "Pod")}
    expected = {"rel-apono-connector-test-config", "rel-apono-connector-test-doctor"}
    holds(f"what tests: {sorted(pods)}", set(pods) == expected)
    hooks = {d["kind"] for d in documents if "helm.sh/hook" in d["metadata"].get("annotations", {})}
    holds(f"and nothing else is of a test: {hooks}", hooks == {"Pod"})
    theirs = pod(kinds)
    for name, document in pods.items():
        spec, about = document["spec"], document["metadata"]
        container = spec["containers"][0]
        holds(f"{name} is a test", about["annotations"]["helm.sh/hook"] == "test")
        holds(f"{name} can be run again", about["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation")
        holds(
            f"{name} runs once, and not forever",
            spec["restartPolicy"] == "Never" and spec["activeDeadlineSeconds"] <= 600,
        )
        for part in ["securityContext", "serviceAccountName", "automountServiceAccountToken", "nodeSelector"]:
            holds(f"{name} has the pod's {part}", spec[part] == theirs[part])
        for part in ["image", "env", "securityContext", "resources", "volumeMounts"]:
            holds(f"{name} has its container's {part}", container[part] == theirs["containers"][0][part])
        holds(f"{name} has its secrets", [v for v in spec["volumes"] if v["name"] != "state"] == theirs["volumes"])
        holds(f"{name} leaves the state alone", {"name": "state", "emptyDir": {}} in spec["volumes"])
        command = container["args"]
        holds(
            f"{name} reads the pod's configuration", command[-2:] == ["--config", "/etc/apono-connector/connector.toml"]
        )
        holds(f"{name} changes nothing", command[0] in {"config", "doctor"} and "command" not in container)
        # clap reads all of it before it shows its help.
        done = ran(CONNECTOR, *command, "--help")
        holds(f"{name}: the connector knows {command}: {done.stderr}", done.returncode == 0)
    _, _, documents = rendered({"test": {"doctor": False}}, tests=True)
    names = {document["metadata"]["name"] for document in of_kind(documents, "Pod")}
    holds("without a look outside", names == {"rel-apono-connector-test-config"})
    return text


def in_other_ways():
    """The same comes of the package; what a person is told fits."""
    with tempfile.TemporaryDirectory() as folder:
        done = helm("package", CHART, "--destination", folder)
        holds(f"it can be packed: {done.stderr}", done.returncode == 0)
        archive = next(pathlib.Path(folder).glob("apono-connector-*.tgz"))
        changes = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}
        values = merged(GOOD, changes)
        packed = helm("template", "rel", str(archive), "-n", "apono", "--skip-tests", values=values)
        holds("the package renders as the folder does", packed.stdout == rendered(changes)[0])
    told = {
        "helm -n apono test rel": {},
        "create configmap stop-grants --from-literal=stop=": {"killSwitch": {"configMap": "stop-grants"}},
        "networkPolicy.metricsFrom": {"podMonitor": {"enabled": True}},
        "3 pods share the state": FLEET,
        "persistence.enabled keeps it": merged(FLEET, {"persistence": {"enabled": False}}),
        "A token stands in the values": {"apono": {"existingSecret": {"name": ""}, "token": "placeholder"}},
    }
    for part, changes in told.items():
        done = helm("install", "rel", CHART, "-n", "apono", "--dry-run=client", values=merged(GOOD, changes))
        holds(f"it can be installed: {done.stderr}", done.returncode == 0)
        _, _, notes = done.stdout.partition("\nNOTES:\n")
        holds(f"a person is told {part!r}: {notes}", part in notes)
        if changes:
            plain = helm("install", "rel", CHART, "-n", "apono", "--dry-run=client", values=GOOD).stdout
            holds(f"and else not {part!r}", part not in plain.partition("\nNOTES:\n")[2])


def documented(schema, path=""):
    """The values that the schema knows, as paths."""
    if schema.get("$ref") == "#/$defs/secret":
        yield from [f"{path}.name", f"{path}.key"]
    elif (
        schema.get("type") == "array"
        and "properties" in schema.get("items", {})
        and not path.startswith("prometheusRule")
    ):
        yield path
        yield from documented(schema["items"], f"{path}[]")
    elif "properties" in schema:
        for name, part in schema["properties"].items():
            yield from documented(part, f"{path}.{name}" if path else name)
    else:
        yield path


def rows_of_the_table():
    """(value, default, what it is) of values.yaml, by the comments that begin with `# --`, or with a path and `--`."""
    lines = pathlib.Path(CHART, "values.yaml").read_text().splitlines()
    rows, places, comment = {}, {}, None

    def walk(node, path):
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else key.value
            places[key.start_mark.line] = (name, value)
            if isinstance(value, yaml.MappingNode) and value.value:
                walk(value, name)

    walk(yaml.compose("\n".join(lines)), "")
    for number, line in enumerate(lines):
        if found := re.match(r" *# -- (.+)", line):
            comment = found[1]
        elif found := re.match(r"# (\S+\[\]\S+) -- (.+)", line):
            rows[found[1]] = ("", found[2])
        elif number in places and comment:
            name, value = places[number]
            default = json.dumps(yaml.safe_load(yaml.serialize(value)), ensure_ascii=False)
            rows[name] = ("" if default in ('""', "null") else f"`{default}`", comment)
            comment = None
        else:
            comment = None
    return rows


def the_documents():
    schema = json.loads(pathlib.Path(CHART, "values.schema.json").read_text())
    rows = rows_of_the_table()
    known = set(documented(schema)) - {"global"}
    holds(f"each value is described: {sorted(known - set(rows))}", known <= set(rows))
    holds(f"each description is of a value: {sorted(set(rows) - known)}", set(rows) <= known)
    table = "| value | default | is |\n| --- | --- | --- |\n"
    table += "".join(f"| `{name}` | {default} | {what} |\n" for name, (default, what) in rows.items())
    names = ["alerts.yaml", "dashboard.json"]
    copies = {pathlib.Path(CHART, "files", name): pathlib.Path("deploy/monitoring", name) for name in names}
    path = pathlib.Path(CHART, "README.md")
    begin, end = "<!-- values: begin -->\n", "<!-- values: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    wanted = before + begin + table + end + after
    if os.environ.get("UPDATE_DOCS") == "1":
        path.write_text(wanted)
        for copied, source in copies.items():
            copied.write_text(source.read_text())
    how = "UPDATE_DOCS=1 tests/packaging/helm.sh BINARY writes it anew"
    holds(f"the README has the table of the values ({how})", path.read_text() == wanted and begin in wanted)
    for copied, source in copies.items():
        holds(f"{copied} is a copy of {source} ({how})", copied.read_text() == source.read_text())
    return len(rows)


def known_to_the_operator(text):
    """Its own models take it, and know every part of it."""

    def lost(given, taken, path):
        if isinstance(given, dict):
            for name, part in given.items():
                if not isinstance(taken, dict) or name not in taken:
                    yield f"{path}.{name}"
                else:
                    yield from lost(part, taken[name], f"{path}.{name}")
        elif isinstance(given, list):
            for one, other in zip(given, taken, strict=True):
                yield from lost(one, other, path)
        elif given != taken:
            yield f"{path}: {taken!r} in place of {given!r}"

    seen = 0
    for document in yaml.safe_load_all(text):
        if document and document["kind"] in OF_THE_OPERATOR:
            model = getattr(operator, document["kind"]).model_validate(document)
            left = list(
                lost(document, model.model_dump(mode="json", by_alias=True, exclude_unset=True), document["kind"])
            )
            holds(f"the operator knows all of it: {left}", not left)
            seen += 1
    return seen


def looked_at_by_checkov():
    """What checkov finds is what has a reason, and nothing else."""
    hardened = {
        "image": {"tag": DIGEST},
        "hostUsers": False,
        "podDisruptionBudget": {"enabled": True},
        "dashboard": {"enabled": True},
        "killSwitch": {"configMap": "stop-grants"},
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            "by default": pathlib.Path(folder, "default.yaml"),
            "as the README says": pathlib.Path(folder, "hardened.yaml"),
            "as a fleet": pathlib.Path(folder, "fleet.yaml"),
        }
        paths["by default"].write_text(rendered(tests=True)[0])
        paths["as the README says"].write_text(rendered(hardened, tests=True)[0])
        paths["as a fleet"].write_text(rendered(merged(hardened, FLEET), tests=True)[0])
        command = [
            f"{TOOLS}/checkov",
            "--framework",
            "kubernetes",
            "--skip-download",
            "--compact",
            "--quiet",
            "-o",
            "json",
        ]
        for path in paths.values():
            command += ["-f", str(path)]
        done = ran(*command)
        try:
            report = json.loads(done.stdout)
        except json.JSONDecodeError:
            sys.exit(f"checkov says nothing that can be read: {done.stdout[:1000]}{done.stderr[:1000]}")
    holds("checkov has read all of it", report["summary"]["parsing_errors"] == 0 and report["summary"]["passed"] > 200)
    holds("nothing is hidden from it", report["summary"]["skipped"] == 0)
    for how, path in paths.items():
        failed = [one for one in report["results"]["failed_checks"] if one["file_path"].endswith(path.name)]
        reasons = NOT_DONE | (NOT_BY_DEFAULT if how == "by default" else {})
        workload = sorted(one["check_id"] for one in failed if one["resource"].startswith("StatefulSet."))
        holds(f"checkov finds on the workload, {how}, what has a reason: {workload}", workload == sorted(reasons))
        others = {one["check_id"] for one in failed if one["resource"].startswith("Pod.")}
        holds(f"and on the pods that test: {others}", others <= set(reasons | NOT_FOR_TESTS))
        rest = [one for one in failed if one["resource"].split(".")[0] not in {"StatefulSet", "Pod"}]
        holds(f"and on nothing else: {rest}", not rest)
        if how != "by default":
            holds("one at most", len(workload) <= 1)
        print(f"-- checkov, {how}: {len(workload)} failed on the workload")
        for check in workload:
            print(f"   {check}: {reasons[check]}")


def known_to_kubernetes(text):
    documents = [d for d in yaml.safe_load_all(text) if d and d["kind"] not in OF_THE_OPERATOR]
    own = {d["apiVersion"] for d in yaml.safe_load_all(text) if d and d["kind"] in OF_THE_OPERATOR}
    holds(f"what it is not asked about is the operator's: {own}", own <= {"monitoring.coreos.com/v1"})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "all.yaml")
        path.write_text(yaml.safe_dump_all(documents))
        for version in KUBERNETES:
            done = ran(f"{TOOLS}/kubernetes-validate", "--strict", "-k", version, path)
            holds(f"Kubernetes {version} takes it: {done.stdout}{done.stderr}", done.returncode == 0)


began = time.monotonic()
done = helm("lint", "--strict", CHART, values=GOOD)
holds(f"lint: {done.stdout}", done.returncode == 0)
values = the_documents()
the_usual()
texts = [rendered()[0], the_unusual()]
mistakes()
of_the_release()
texts += [a_fleet(), where_things_are(), what_prometheus_gets(), what_grafana_gets(), the_test()]
in_other_ways()
for text in texts:
    known_to_kubernetes(text)
monitors = sum(known_to_the_operator(text) for text in texts)
holds(f"the operator was asked about each kind: {monitors}", monitors == len(OF_THE_OPERATOR))
looked_at_by_checkov()
print(
    f"the chart: {held()} assertions hold, with Kubernetes {', '.join(KUBERNETES)}; {values} values are described; "
    f"in {time.monotonic() - began:.0f} s"
)
