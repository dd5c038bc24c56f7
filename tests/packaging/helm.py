"""Renders the chart with a real Helm and holds it against what it promises.

helm.py HELM CONNECTOR KUBERNETES_VALIDATE
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import yaml

HELM, CONNECTOR, VALIDATE = sys.argv[1:4]
CHART = "helm/apono-connector"
KUBERNETES = ["1.28", "1.31", "1.34"]
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
held = 0


def holds(what, value):
    global held
    if not value:
        sys.exit(f"does not hold: {what}")
    held += 1


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
        return subprocess.run(
            [HELM, *arguments, *(["-f", file.name] if values is not None else [])],
            capture_output=True,
            text=True,
            check=False,
        )


def rendered(changes=None, *more):
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
        command = [CONNECTOR, "config", "check", "--without-secrets", "--config", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        holds(f"the connector takes its configuration: {done.stderr}\n{config}", done.returncode == 0)


def pod(kinds):
    return kinds["StatefulSet"]["spec"]["template"]["spec"]


def the_usual():
    text, kinds, documents = rendered()
    holds("two renders are equal", text == rendered()[0])
    expected = {"StatefulSet", "ConfigMap", "Service", "ServiceAccount", "NetworkPolicy"}
    holds(f"what there is: {sorted(kinds)}", set(kinds) == expected)
    for document in documents:
        labels = document["metadata"]["labels"]
        for label in ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "helm.sh/chart"]:
            holds(f"{document['kind']} has {label}", label in labels)
    spec, container = pod(kinds), pod(kinds)["containers"][0]
    holds("one pod", kinds["StatefulSet"]["spec"]["replicas"] == 1)
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

    second = {"integrationId": "y", "organizationUrl": "https://other.okta.com", "existingSecret": {"name": "s", "key": "k.json"}}
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
    for line in ['/run/secrets/apono-connector/ca/ca.pem"', '/run/secrets/apono-connector/proxy/proxy-credentials"', 'okta-1/k.json"', 'level = "debug"']:
        holds(f"the configuration has {line}", line in config)
    checked_by_the_connector(config)
    holds("what is added is a template", any(d["metadata"]["name"] == "rel-more" for d in documents))
    holds("a budget", kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1)
    holds("Prometheus", kinds["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus")
    blocks = [to["ipBlock"]["cidr"] for rule in kinds["NetworkPolicy"]["spec"]["egress"] for to in rule.get("to", []) if "ipBlock" in to]
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
    refused({"replicas": 2}, "replicas")
    refused({"persistence": {"enabled": False}}, "acceptLossOfState")
    refused({"proxy": {"httpsProxy": "http://user:placeholder@proxy"}}, "httpsProxy")
    refused({"image": {"tag": "latest"}}, "tag")
    refused({"apono": {"existingSecret": {"name": "a", "subPath": "b"}}}, "subPath")
    refused({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds")
    refused({"replicaCount": 1}, "replicaCount")


def known_to_kubernetes(text):
    documents = [d for d in yaml.safe_load_all(text) if d and d["kind"] != "ServiceMonitor"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "all.yaml")
        path.write_text(yaml.safe_dump_all(documents))
        for version in KUBERNETES:
            done = subprocess.run([VALIDATE, "--strict", "-k", version, str(path)], capture_output=True, text=True, check=False)
            holds(f"Kubernetes {version} takes it: {done.stdout}{done.stderr}", done.returncode == 0)


done = helm("lint", "--strict", CHART, values=GOOD)
holds(f"lint: {done.stdout}", done.returncode == 0)
the_usual()
everything = the_unusual()
mistakes()
known_to_kubernetes(rendered()[0])
known_to_kubernetes(everything)
print(f"the chart: {held} assertions hold, with Kubernetes {', '.join(KUBERNETES)}")
