"""deploy/kubernetes: each resource against the API's schemas, and against the rest of the project."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cifarsite.tests.test_deploy import DOCKERFILE, known_variables
from classifier.models import Prediction
from conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, EXAMPLE = KUBERNETES / "base", KUBERNETES / "example"
FILES = sorted(path for path in KUBERNETES.glob("*/*.yaml") if path.name != "kustomization.yaml")
LABEL = "app.kubernetes.io/name"


def resources(*files: Path) -> list[dict[str, Any]]:
    return [found for path in files for found in yaml.safe_load_all(path.read_text()) if found]


ALL = resources(*FILES)
WORKLOADS = [found for found in ALL if found["kind"] in ("Deployment", "StatefulSet", "Job")]


def name_of(found: dict[str, Any]) -> str:
    return f"{found['kind']} {found['metadata']['name']}"


def pod(found: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = found["spec"]["template"]["spec"]
    return template


def variables(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in lines if name}


@pytest.mark.parametrize("found", ALL, ids=name_of)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_the_api_takes_it(found: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(found, version, strict=True)


def test_the_schemas_refuse_what_is_wrong() -> None:
    """The test above rests on it."""
    web = resources(BASE / "web.yaml")[0]
    web["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(web, "1.37", strict=True)


def test_each_file_is_named_and_each_name_is_a_file() -> None:
    for folder in (BASE, EXAMPLE):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = {(folder / each).resolve() for each in kustomization["resources"]}
        assert {path for path in FILES if path.parent == folder} <= named
        assert all(path.exists() for path in named)
        for generated in kustomization.get("configMapGenerator", []) + kustomization.get(
            "secretGenerator", []
        ):
            assert all((folder / each).exists() for each in generated["envs"])


def test_it_builds() -> None:
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed.")
    built = subprocess.run([kubectl, "kustomize", EXAMPLE], check=True, capture_output=True, text=True).stdout
    found = list(yaml.safe_load_all(built))
    assert {name_of(each) for each in ALL} <= {name_of(each) for each in found}
    for each in found:
        kubernetes_validate.validate(each, "1.37", strict=True)
    # The names that the generators make are those that the pods ask for.
    names = {each["metadata"]["name"] for each in found if each["kind"] in ("ConfigMap", "Secret")}
    asked = set(re.findall(r"\bcifarsite-(?:settings|secrets)\S*", built))
    assert len(names) == 2 and asked == names


def test_settings_and_secrets_are_the_sites_own() -> None:
    settings, secret = variables(EXAMPLE / "settings.env"), variables(EXAMPLE / "secrets.env")
    assert set(settings) | set(secret) <= known_variables()
    assert not set(settings) & set(secret)
    assert not [name for name in settings if re.search("SECRET|PASSWORD|TOKEN|DATABASE|BROKER", name)]
    for found in WORKLOADS:
        for container in pod(found)["containers"]:
            own = {each["name"] for each in container.get("env", [])}
            assert own <= known_variables() | {"POD_IP", "HOSTS"}, name_of(found)


def test_the_example_starts_a_site_once_its_secrets_are_filled_in(tmp_path: Path) -> None:
    given = {**variables(EXAMPLE / "settings.env"), **variables(EXAMPLE / "secrets.env")}
    filled = {name: value.replace("change-me", secrets.token_urlsafe(48)) for name, value in given.items()}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **filled, "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_each_part_of_the_site_is_there() -> None:
    assert {name_of(found) for found in WORKLOADS} == {
        *("Deployment web", "Deployment sweeper", "Deployment predict"),
        *("StatefulSet train", "Job prepare"),
    }
    queues = {
        found["metadata"]["name"]: each["value"]
        for found in WORKLOADS
        for each in pod(found)["containers"][0].get("env", [])
        if each["name"] == "QUEUES"
    }
    assert queues == {"predict": "predict,batch,default", "train": "train"}
    train = next(found for found in WORKLOADS if found["kind"] == "StatefulSet")
    assert pod(train)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    # What trains keeps its checkpoints through a new pod.
    assert [each["metadata"]["name"] for each in train["spec"]["volumeClaimTemplates"]] == ["var"]


def test_images_are_the_dockerfiles_and_commands_the_projects() -> None:
    targets = {
        f"cifarsite-{name}" for name in re.findall(r"^FROM \S+ AS (\w+)", DOCKERFILE.read_text(), re.M)
    }
    renamed = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["images"]
    used = set()
    for found in WORKLOADS:
        for container in pod(found)["containers"] + pod(found).get("initContainers", []):
            used.add(container["image"])
            if command := container.get("command"):
                assert command[:2] == ["python", "manage.py"]
                argv = [sys.executable, "manage.py", command[2], "--help"]
                said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
                assert all(word in said.stdout for word in command[3:]), command
    assert used <= targets
    assert used == {each["name"] for each in renamed}


@pytest.mark.parametrize("found", WORKLOADS, ids=name_of)
def test_each_pod_is_confined_bounded_and_watched(found: dict[str, Any]) -> None:
    spec = pod(found)
    # The number in the image, so that volumes are theirs.
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 999
    assert not spec["automountServiceAccountToken"]
    for container in spec["containers"] + spec.get("initContainers", []):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        assert mounted == {"/var/lib/cifarsite", "/tmp"}
    (container,) = spec["containers"]
    if found["kind"] == "Job":
        return
    assert "livenessProbe" in container
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        how = container.get(probe, {})
        if asked := how.get("httpGet") or how.get("tcpSocket"):
            assert asked["port"] in ports
    if found["metadata"]["name"] == "web":
        assert ports == {"http": 8000} and "WEB_BIND=0.0.0.0:8000" in DOCKERFILE.read_text()
        graceful = re.search(
            r"^graceful_timeout = (\d+)", (ROOT / "deploy/gunicorn.conf.py").read_text(), re.M
        )
        assert graceful and spec["terminationGracePeriodSeconds"] > int(graceful[1]) + 5


def test_what_selects_pods_finds_them() -> None:
    labels = {found["spec"]["template"]["metadata"]["labels"][LABEL] for found in WORKLOADS}
    for found in ALL:
        selector = found.get("spec", {}).get("selector", {})
        wanted = selector.get("matchLabels", selector)
        if found["kind"] in ("Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
            assert wanted[LABEL] in labels, name_of(found)
    budgets = {found["metadata"]["name"] for found in ALL if found["kind"] == "PodDisruptionBudget"}
    assert budgets == {"web", "predict", "train"}
    services = {found["metadata"]["name"] for found in ALL if found["kind"] == "Service"}
    (ingress,) = [found for found in ALL if found["kind"] == "Ingress"]
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        assert path["backend"]["service"]["name"] in services


def test_predict_is_scaled_by_a_metric_that_the_site_tells() -> None:
    (scaler,) = [found for found in ALL if found["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == "predict"
    (metric,) = scaler["spec"]["metrics"]
    adapter = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    assert rule["name"]["as"] == metric["external"]["metric"]["name"]
    told = (ROOT / "classifier" / "monitoring" / "metrics.py").read_text()
    assert '"cifarsite_queue_length"' in told and "cifarsite_queue_length" in rule["metricsQuery"]
    queues = "|".join(priority.name.lower() for priority in Prediction.Priority)
    assert f'queue=~"{queues}"' in rule["metricsQuery"]
