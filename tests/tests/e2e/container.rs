//! The image and the manifests as they are deployed: every flag is parsed by the program, every probe is answered, workers
//! without any compiler compile, unprivileged, and SIGTERM ends each pod well.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::container::{DEVELOPER_TOKEN, Pod, Probe, manifests, unpack_image};
use pumphouse_tests::objects::compare;
use pumphouse_tests::project::LUA;
use pumphouse_tests::workspace::Workspace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Whether the container in the network namespace at `network` answers `probe` as a healthy one does.
fn is_healthy(network: &Path, probe: &Probe) -> Result<bool> {
    let file = std::fs::File::open(network)?;
    let probe = probe.clone();
    // A thread of its own, since it stays in that namespace until it ends.
    let ask = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        match probe {
            Probe::Grpc { port, service } => {
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serving(port, service))
            }
            Probe::Http { port, path } => {
                let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}"))?;
                write!(stream, "GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                anyhow::Ok(answer.starts_with("HTTP/1.1 200 "))
            }
        }
    });
    ask.join().ok().context("the thread that asks has panicked")?
}

async fn serving(port: u64, service: String) -> Result<bool> {
    let channel = tonic::transport::Endpoint::new(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let request = tonic_health::pb::HealthCheckRequest { service };
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    Ok(answer.status() == ServingStatus::Serving)
}

#[test]
fn the_manifests_pods_serve_compile_and_leave() -> Result<()> {
    let directory = tempfile::tempdir()?;
    // Pods have other users than this test's.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let root = unpack_image(directory.path())?;
    let files: Vec<_> =
        std::fs::read_dir(&root)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    ensure!(!files.iter().any(|name| name == "usr" || name == "bin" || name == "lib"), "{files:?}");

    let manifests = manifests()?;
    let mut server = Pod::start(directory.path(), &root, &manifests, "pumphouse-server", None)?;
    server.service.says("listening on ")?;
    let mut worker = Pod::start(directory.path(), &root, &manifests, "pumphouse-worker", Some(&server))?;
    let network = server.network()?;

    let client = Client::new(&directory.path().join("client"), Some("grpc://127.0.0.1:8980"))?.inside(&network);
    let token = directory.path().join("token");
    std::fs::write(&token, DEVELOPER_TOKEN)?;
    std::fs::write(client.directory().join("pumphouse.toml"), format!("remote_token_file = {token:?}\n"))?;
    let workspace = Workspace::new(&[
        ("a.c", "#include <stdio.h>\nint main(void) { return puts(__FILE__); }\n"),
        (
            "b.cc",
            "#include <vector>\n#include <iostream>\nint b() { std::vector<int> v(3); std::cout << v.size(); return 0; }\n",
        ),
    ])?;
    for command_line in ["gcc -g -O2 -c a.c -o a.o", "g++ -g -O2 -c b.cc -o b.o"] {
        workspace.check(&client, command_line).with_context(|| worker.service.log())?;
    }
    for pod in [&server, &worker] {
        for (name, probe) in pod.probes()? {
            ensure!(is_healthy(&network, &probe).with_context(|| format!("{name}: {probe:?}"))?, "{name}: {probe:?}");
        }
    }
    let lua = directory.path().join("lua");
    let (expected, actual) = (LUA.build(&lua, None)?, LUA.build(&lua, Some(&client))?);
    let comparison = compare(&expected.objects, &actual.objects);
    ensure!(comparison.is_identical(), "{comparison:?}");
    let stats = client.stats()?;
    ensure!(stats.remote_runs >= 35, "{stats:?}\n{}", worker.service.log());
    let ran_here: Vec<_> = stats.local_runs.keys().filter(|reason| *reason != "not-a-compile").collect();
    ensure!(ran_here.is_empty(), "{stats:?}");

    worker.service.terminate()?;
    server.service.terminate()
}
