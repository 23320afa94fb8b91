//! The container image and the Kubernetes manifests, run for real: `runc` starts the image's root with exactly the
//! arguments, user, capabilities, mounts and network that a pod of the rendered manifests has.
//!
//! What it does not know: clusters. Volumes are temporary directories, and the service's name stands in `/etc/hosts`.

use crate::process::{Service, succeed};
use crate::program::{program, repository};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a pod's user ids begin on the host, as with `hostUsers: false`.
const USER_IDS_START: u32 = 100_000;

/// How many user ids a pod has.
const USER_IDS: u32 = 65_536;

/// Builds the image of the program under test below `directory`, checks its digests, and unpacks its files.
///
/// # Errors
/// When the image can't be built or isn't what its own manifest says.
pub fn unpack_image(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("image.tar");
    let layout = directory.join("layout");
    let root = directory.join("root");
    std::fs::create_dir_all(&layout)?;
    std::fs::create_dir_all(&root)?;
    succeed(Command::new(repository().join("deploy/container/build")).arg("--program").arg(program()?).arg(&archive))?;
    succeed(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout))?;

    let index = read_json(&layout.join("index.json"))?;
    let manifest = read_json(&blob(&layout, &index["manifests"][0])?)?;
    let config = read_json(&blob(&layout, &manifest["config"])?)?;
    let layers = manifest["layers"].as_array().context("a manifest without layers")?;
    ensure!(layers.len() == 1 && config["rootfs"]["diff_ids"][0] == layers[0]["digest"], "{manifest} {config}");
    ensure!(config["config"]["Entrypoint"] == json!(["/pumphouse"]), "{config}");
    succeed(Command::new("tar").arg("-xf").arg(blob(&layout, &layers[0])?).arg("-C").arg(&root))?;
    Ok(root)
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// The file of a descriptor, once its digest and size are found right.
fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let hash = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let path = layout.join("blobs/sha256").join(hash.with_context(|| format!("{descriptor}: no digest"))?);
    let sum = succeed(Command::new("sha256sum").arg(&path))?;
    ensure!(hash == sum.split_whitespace().next(), "{}: its digest is {sum}", path.display());
    ensure!(descriptor["size"] == path.metadata()?.len(), "{}: its size is not {}", path.display(), descriptor["size"]);
    Ok(path)
}

/// The rendered Kubernetes base, an object each.
///
/// # Errors
/// When it can't be rendered.
pub fn manifests() -> Result<Vec<Value>> {
    let base = repository().join("deploy/kubernetes/base");
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let pipeline = "set -o pipefail; kubectl kustomize \"$0\" | /usr/bin/python3 -c \"$1\"";
    let text = succeed(Command::new("bash").args(["-c", pipeline]).arg(base).arg(script))?;
    serde_json::from_str(&text).with_context(|| format!("reading {text}"))
}

/// The token of developers in [`SECRETS`].
pub const DEVELOPER_TOKEN: &str = "the-token-of-the-tests-developers";

/// What the secrets that the manifests name hold, as whoever deploys makes them: a name, a file and its content.
const SECRETS: [(&str, &str, &str); 2] = [
    (
        "pumphouse-identities",
        "identities.toml",
        "[[identity]]\nname = \"workers\"\nroles = [\"worker\"]\ntoken = \"the-token-of-the-tests-workers\"\n\
         [[identity]]\nname = \"developers\"\nroles = [\"read\", \"write-cas\", \"execute\"]\n\
         token = \"the-token-of-the-tests-developers\"\n",
    ),
    ("pumphouse-worker-token", "token", "the-token-of-the-tests-workers\n"),
];

/// A running pod of one container. It is ended when dropped.
#[derive(Debug)]
pub struct Pod {
    /// The runtime's process, which passes signals and the exit code on.
    pub service: Service,
    /// The Deployment that it follows.
    pub deployment: Value,
    directory: PathBuf,
    name: String,
}

impl Pod {
    /// Runs the Deployment `name` of `manifests` on the image's files at `root`, with its own files below `directory`.
    /// The pod gets a network of its own, or that of the pod `beside`, so that ports can be those of the manifest.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        directory: &Path,
        root: &Path,
        manifests: &[Value],
        name: &str,
        beside: Option<&Self>,
    ) -> Result<Self> {
        let deployment = manifests
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == name)
            .with_context(|| format!("no Deployment {name}"))?;
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let network = beside.map(Self::network).transpose()?;
        let config = runtime_config(&directory, root, &deployment["spec"]["template"]["spec"], network.as_deref())?;
        std::fs::write(directory.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        let mut command = runtime(&directory);
        command.arg("run").arg("--bundle").arg(&directory).arg(name);
        let service = Service::start(&mut command, &directory.join("log"))?;
        Ok(Self { service, deployment: deployment.clone(), directory, name: name.to_owned() })
    }

    /// The file of the pod's network namespace.
    ///
    /// The runtime knows the process before it lets it run; the file of `--pid-file` comes after that, at any time.
    ///
    /// # Errors
    /// When the pod has not said anything yet, or has ended.
    pub fn network(&self) -> Result<PathBuf> {
        let state = succeed(runtime(&self.directory).arg("state").arg(&self.name)).context("the pod does not run")?;
        let state: Value = serde_json::from_str(&state).with_context(|| format!("reading {state}"))?;
        let pid =
            state["pid"].as_u64().filter(|pid| *pid > 0).with_context(|| format!("the pod has ended: {state}"))?;
        Ok(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// What the kubelet asks the container, by the names of the probes.
    ///
    /// # Errors
    /// When a probe is absent, or is of a kind that is not known here.
    pub fn probes(&self) -> Result<Vec<(&'static str, Probe)>> {
        let container = &self.deployment["spec"]["template"]["spec"]["containers"][0];
        let port = |named: &Value| {
            let ports = container["ports"].as_array().into_iter().flatten();
            let by_name = ports.filter(|port| port["name"] == *named).find_map(|port| port["containerPort"].as_u64());
            named.as_u64().or(by_name).with_context(|| format!("no port {named}"))
        };
        let parse = |name: &'static str| {
            let probe = &container[name];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if let Some(grpc) = probe.get("grpc") {
                return Ok((name, Probe::Grpc { port: port(&grpc["port"])?, service: text(&grpc["service"]) }));
            }
            let http = probe.get("httpGet").with_context(|| format!("{name}: {probe}"))?;
            Ok((name, Probe::Http { port: port(&http["port"])?, path: text(&http["path"]) }))
        };
        ["startupProbe", "readinessProbe", "livenessProbe"].into_iter().map(parse).collect()
    }
}

/// A question of the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `grpc.health.v1.Health/Check`
    Grpc {
        /// Where.
        port: u64,
        /// The service that is asked about; empty for the whole server.
        service: String,
    },
    /// `GET`
    Http {
        /// Where.
        port: u64,
        /// The path that is asked for.
        path: String,
    },
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = succeed(runtime(&self.directory).args(["delete", "--force", &self.name]));
    }
}

/// The runtime for the pod in `directory`: names are global to a state directory, and each pod has its own.
fn runtime(directory: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(directory.join("state"));
    command
}

/// The runtime's configuration for a pod's specification.
fn runtime_config(directory: &Path, root: &Path, pod: &Value, network: Option<&Path>) -> Result<Value> {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    let user = pod["securityContext"]["runAsUser"].as_u64().context("no runAsUser")?;
    let group = pod["securityContext"]["runAsGroup"].as_u64().context("no runAsGroup")?;
    ensure!(pod["securityContext"]["runAsNonRoot"] == true && user != 0, "the pod runs as root");
    ensure!(security["capabilities"] == json!({"drop": ["ALL"]}), "capabilities are kept: {security}");

    let mut args = vec![json!("/pumphouse")];
    args.extend(container["args"].as_array().context("no args")?.iter().cloned());
    let own_users = pod["hostUsers"] == false;
    let unmasked = security["procMount"] == "Unmasked";
    let host_id = if own_users { USER_IDS_START } else { 0 };
    let mut namespaces =
        vec![json!({"type": "pid"}), json!({"type": "mount"}), json!({"type": "ipc"}), json!({"type": "uts"})];
    namespaces.push(match network {
        Some(path) => json!({"type": "network", "path": path}),
        None => json!({"type": "network"}),
    });
    if own_users {
        namespaces.push(json!({"type": "user"}));
    }
    let ids = json!([{"containerID": 0, "hostID": USER_IDS_START, "size": USER_IDS}]);
    let ids = if own_users { ids } else { json!([]) };
    let masked = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"];
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": user, "gid": group},
            "args": args,
            "env": [],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
        },
        "root": {"path": root, "readonly": security["readOnlyRootFilesystem"] == true},
        "mounts": mounts(directory, pod, host_id + u32::try_from(user)?)?,
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": namespaces,
            "maskedPaths": if unmasked { json!([]) } else { json!(masked) },
            "readonlyPaths": if unmasked { json!([]) } else { json!(readonly) },
        },
    }))
}

/// What every pod has, and the manifest's volumes as directories that `owner` may write.
fn mounts(directory: &Path, pod: &Value, owner: u32) -> Result<Vec<Value>> {
    let container = &pod["containers"][0];
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost pumphouse-server\n")?;
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}),
        json!({"destination": "/etc/hosts", "type": "bind", "source": hosts, "options": ["bind", "ro"]}),
    ];
    for volume in container["volumeMounts"].as_array().context("no volumeMounts")? {
        let (Some(name), Some(destination)) = (volume["name"].as_str(), volume["mountPath"].as_str()) else {
            bail!("a volumeMount without name or path: {volume}");
        };
        let source = directory.join(name);
        std::fs::create_dir_all(&source)?;
        chown(&source, Some(owner), Some(owner))?;
        let mut volumes = pod["volumes"].as_array().context("no volumes")?.iter();
        let secret =
            volumes.find(|volume| volume["name"] == name).and_then(|volume| volume["secret"]["secretName"].as_str());
        if let Some(secret) = secret {
            let (_, file, content) = SECRETS
                .into_iter()
                .find(|(name, ..)| *name == secret)
                .with_context(|| format!("no secret {secret}"))?;
            std::fs::write(source.join(file), content)?;
        }
        mounts.push(json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", "rw"]}));
    }
    Ok(mounts)
}
