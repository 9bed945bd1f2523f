"""deploy/: what must agree agrees, every option in its commands exists, and the Slurm script starts and stops what it should."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines import graph, options

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SBATCH = DEPLOY / "slurm" / "ray.sbatch"
PAIR = ["source=market", "target=duke"]
DOCUMENTS = list(yaml.safe_load_all((DEPLOY / "kuberay" / "rayjob.yaml").read_text()))
JOB = DOCUMENTS[0]["spec"]
CLUSTER = JOB["rayClusterSpec"]
HEAD, WORKERS = CLUSTER["headGroupSpec"], CLUSTER["workerGroupSpecs"][0]
PODS = [HEAD["template"]["spec"], WORKERS["template"]["spec"]]
MLFLOW = next(d for d in DOCUMENTS if d["kind"] == "Deployment")["spec"]["template"]
# The keys of `#SBATCH --key=value` that stand in the script and are known to be right.
SBATCH_KEYS = "job-name nodes ntasks-per-node cpus-per-task gpus-per-node mem time requeue signal open-mode output"


def settings(script: str, arguments: list[str]) -> dict:
    """What the script composes of these arguments, without those of its own (conf/<script>.yaml)."""
    own, conf = {"grid"}, options.CONF / f"{Path(script).stem}.yaml"
    if conf.exists():
        own |= set(yaml.safe_load(conf.read_text()))
    return options.compose([a for a in arguments if a.partition("=")[0].partition(".")[0] not in own])


def commands() -> list[str]:
    """`pipelines/x.py a=1 b=2` wherever it stands in deploy/, put on one line and its shell variables filled in."""
    found = []
    for path in [*DEPLOY.rglob("*.md"), *DEPLOY.rglob("*.yaml"), SBATCH]:
        text = re.sub(r"\\\n", " ", path.read_text()).replace('"$shared', '"/shared')
        found += re.findall(r"pipelines/\w+\.py(?:\s+[\w.]+=[^\s`]+)+", text)
    return [" ".join(shlex.split(command)) for command in found]


@pytest.mark.slow
def test_every_command_has_a_script_and_options_that_exist():
    assert len(commands()) == 6
    for command in commands():
        script, *arguments = command.split()
        assert (ROOT / script).exists(), command
        settings(script, arguments)


def images(node) -> list[str]:
    if isinstance(node, list):
        return [image for value in node for image in images(value)]
    if isinstance(node, dict):
        return [value for key, value in node.items() if key == "image"] + images(list(node.values()))
    return []


def test_ray_has_one_version_everywhere():
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    found = images(DOCUMENTS)
    assert len(found) == 4 and len(set(found)) == 1 and f"-t {found[0]} ." in (DEPLOY / "Dockerfile").read_text()
    version, python, *_ = re.search(r"^ARG RAY_TAG=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[1].split(
        "-"
    )
    assert {pinned, CLUSTER["rayVersion"], found[0].partition(":")[2].partition("-")[0]} == {version}
    assert python == "py311"


def test_head_and_workers_see_the_same_storage_and_have_shared_memory():
    claims = {d["metadata"]["name"]: d["spec"] for d in DOCUMENTS if d["kind"] == "PersistentVolumeClaim"}
    mounts = [{m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]} for pod in PODS]
    assert mounts[0] == mounts[1] == {"shared": "/shared", "shm": "/dev/shm"}
    for pod in PODS:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert "ReadWriteMany" in claims[volumes["shared"]["persistentVolumeClaim"]["claimName"]]["accessModes"]
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory" and volumes["shm"]["emptyDir"]["sizeLimit"]
    used = settings(*entrypoint())
    assert all(path.startswith("/shared/") for path in (used["work_dir"], used["data"]["root"]))


def entrypoint() -> tuple[str, list[str]]:
    python, script, *arguments = JOB["entrypoint"].split()
    assert python == "python" and not {"&&", ";", "|"} & set(arguments)
    return script, arguments


def test_the_ray_job_is_retried_cleaned_up_and_behind_a_token():
    assert JOB["backoffLimit"] > 0 and JOB["shutdownAfterJobFinishes"] and JOB["ttlSecondsAfterFinished"] > 0
    assert CLUSTER["authOptions"] == {"mode": "token"}
    environment = yaml.safe_load(JOB["runtimeEnvYAML"])["env_vars"]
    assert all(isinstance(value, str) for value in environment.values()), "Ray refuses others"


def test_the_head_does_no_work_and_every_worker_has_a_gpu():
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    for kind in ("requests", "limits"):
        have = WORKERS["template"]["spec"]["containers"][0]["resources"][kind]
        assert (
            have["nvidia.com/gpu"] == "1" and int(have["cpu"]) >= settings(*entrypoint())["cluster"]["cpus_per_worker"]
        )
    assert WORKERS["minReplicas"] == WORKERS["replicas"] == WORKERS["maxReplicas"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["kubernetes", "slurm"])
def test_the_gpus_can_share_a_batch(where):
    lines = dict(re.findall(r"^#SBATCH --([\w-]+)=(\d+)$", SBATCH.read_text(), re.MULTILINE))
    gpus = {"kubernetes": WORKERS["replicas"], "slurm": int(lines["nodes"]) * int(lines["gpus-per-node"])}[where]
    for n_t in (4, 28):
        graph.plan(options.compose([*PAIR, "recipe=paper", f"n_t={n_t}"]), gpus)


def test_mlflow_is_called_as_it_listens():
    service = next(d for d in DOCUMENTS if d["kind"] == "Service")
    host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert settings(*entrypoint())["tracking"]["uri"] == f"http://{host}"
    (wait,) = PODS[0]["initContainers"]
    assert f"urlopen('http://{host}/health'" in wait["args"][0]
    assert service["spec"]["selector"].items() <= MLFLOW["metadata"]["labels"].items()
    container = MLFLOW["spec"]["containers"][0]
    given = dict(argument.lstrip("-").split("=", 1) for argument in container["args"])
    assert host in given["allowed-hosts"].split(",") and given["port"] == host.partition(":")[2]
    disk = container["volumeMounts"][0]["mountPath"]
    assert given["backend-store-uri"].startswith(f"sqlite:///{disk}/") and given["artifacts-destination"].startswith(
        disk
    )
    assert all(pod["enableServiceLinks"] is False for pod in [*PODS, MLFLOW["spec"]]), (
        "a service's variables are MLFLOW_PORT ..."
    )


def test_the_lines_for_sbatch_have_known_keys():
    lines = [line for line in SBATCH.read_text().splitlines() if line.startswith("#SBATCH")]
    keys = [re.fullmatch(r"#SBATCH --([a-z-]+)(=\S+)?", line)[1] for line in lines]
    assert keys == SBATCH_KEYS.split()


FAKE = """#!/usr/bin/env bash
set -- "$(basename "$0")" "$@"
echo "$*" | head -n 1 >> "$CALLS"
case "$*" in
    "ray get-auth-token --generate") echo token ;;
    srun*" ray start --head "*)
        [[ $* =~ --port=([0-9]+) ]]
        exec "$REAL_PYTHON" -c "$LISTEN" "${BASH_REMATCH[1]}" ;;
    srun*" ray start "* | "mlflow "*) exec sleep 60 ;;
    "python - 2") until grep -q "^mlflow" "$CALLS" && grep -q -- "--address=" "$CALLS"; do sleep 0.1; done ;;
    "python pipelines/"*)
        stat -c "token %a" "$RAY_AUTH_TOKEN_PATH" >> "$CALLS"
        exec "$REAL_PYTHON" -c "$COMMAND" ;;
esac
"""
LISTEN = """
import socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
time.sleep(60)
"""
NEVER_ENDING = """
import os, signal, sys, time
def stopped(*_):
    with open(os.environ["CALLS"], "a") as calls:
        print("stopped by Ctrl-C", file=calls)
    sys.exit(130)
signal.signal(signal.SIGINT, stopped)
time.sleep(0.5)
os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(60)
"""


def run_sbatch(tmp_path: Path, command: str, listen: str = LISTEN) -> tuple[int, list[str]]:
    """The script, with Slurm, Ray, MLflow and the command (this Python) replaced by what notes its calls: exit code, notes."""
    calls, tools, shared = tmp_path / "calls", tmp_path / "tools", tmp_path / "shared"
    tools.mkdir()
    for name in ("srun", "scontrol", "ray", "mlflow", "python"):
        (tools / name).write_text(FAKE)
        (tools / name).chmod(0o755)
    slurm = {"JOB_ID": str(os.getpid()), "NNODES": "2", "CPUS_PER_TASK": "3"}
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        **{"SHARED": str(shared), "VENV": "", "SLURMD_NODENAME": "127.0.0.1"},
        **{f"SLURM_{name}": value for name, value in slurm.items()},
        **{"CALLS": str(calls), "REAL_PYTHON": sys.executable, "LISTEN": listen, "COMMAND": command},
    }
    line = ["bash", str(SBATCH), "pipelines/run.py", *PAIR]
    with open(tmp_path / "log", "w") as log:  # not a pipe, which a process that is left over would keep open
        done = subprocess.run(line, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=50)
    assert not list(shared.glob("reid-da/ray-token*")), "the token goes with the job"
    alive = [path for path in Path("/proc").glob("[0-9]*/environ") if str(calls).encode() in read(path)]
    assert not alive, "all that it started has ended"
    return done.returncode, calls.read_text().splitlines()


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""


@pytest.mark.slow
def test_the_slurm_script_starts_ray_and_mlflow_then_the_command_and_ends_them(tmp_path):
    code, calls = run_sbatch(tmp_path, "raise SystemExit(7)")
    assert code == 7, (tmp_path / "log").read_text()
    place = {
        name: next(place for place, call in enumerate(calls) if name in call)
        for name in ("get-auth-token", "start --head", "start --address", "mlflow server", "python pipelines", "rm -rf")
    }
    *before, command, last = place.values()
    assert max(before) < command < last
    assert "token 600" in calls
    port = re.search(r"--head --port=(\d+)", calls[place["start --head"]])[1]
    assert f"--address=127.0.0.1:{port}" in calls[place["start --address"]]
    for node in ("start --head", "start --address"):
        assert "--cpus-per-task=3 --nodes=1 --ntasks=1" in calls[place[node]] and "--num-cpus=3" in calls[place[node]]
    _, script, *arguments = calls[command].split()
    used = settings(script, arguments)
    assert used["cluster"]["kind"] == "auto" and used["work_dir"] == str(tmp_path / "shared" / "reid-da")
    server = calls[place["mlflow server"]]
    assert any(
        call.startswith("python -c ") and f"{used['tracking']['uri']}/health" in call
        for call in calls[: place["python pipelines"]]
    )
    assert used["tracking"]["uri"] == "http://{}:{}".format(*re.search(r"--host (\S+) --port (\d+)", server).groups())
    assert "--workers 1" in server and not any(call.startswith("scontrol") for call in calls)


@pytest.mark.slow
def test_near_the_time_limit_the_slurm_script_stops_the_command_and_queues_itself_again(tmp_path):
    code, calls = run_sbatch(tmp_path, NEVER_ENDING)
    assert code == 0, (tmp_path / "log").read_text()
    assert calls[-1] == f"scontrol requeue {os.getpid()}" and "stopped by Ctrl-C" in calls[:-1]


def test_without_a_head_the_slurm_script_ends(tmp_path):
    code, calls = run_sbatch(tmp_path, "", listen="raise SystemExit('no port')")
    assert code != 0 and not any("--address" in call or "pipelines" in call for call in calls)


def test_nothing_that_runs_is_left_out_of_an_upload():
    """`ray job submit --working-dir .` respects .rayignore; git reads it the same way."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    line = ["git", "ls-files", "--cached", "--ignored", "--exclude-from=.rayignore"]
    left_out = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {path.split("/")[0] for path in left_out} <= {".ci", "benchmarks", "deploy", "tests"}
