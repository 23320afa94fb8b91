//! `buildbox-casd` as a proxy before the server: blobs go through it either way, and a whole build of Bazel's.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_tests::bazel::{Bazel, Version};
use pumphouse_tests::process::Service;
use pumphouse_tests::processes::until_it_listens;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::Remote;
use std::path::Path;
use std::process::Command;

/// A proxy of `site`, and where it listens.
fn proxy(site: &Pumphouse, directory: &Path) -> Result<(Service, String)> {
    let mut command = Command::new("buildbox-casd");
    command.arg(format!("--remote=http://{}", site.address())).arg(format!("--ac-remote=http://{}", site.address()));
    command.arg("--bind=127.0.0.1:0").arg(directory.join("cache"));
    let service = Service::start(&mut command, &directory.join("casd.log"));
    let service = service.context("buildbox-casd comes with BuildStream: tests/tools; tests/run has it on PATH")?;
    let port = until_it_listens(service.id()).with_context(|| service.log())?;
    Ok((service, format!("127.0.0.1:{port}")))
}

#[tokio::test]
async fn blobs_go_through_it_either_way() -> Result<()> {
    let site = Pumphouse::server()?;
    let directory = tempfile::tempdir()?;
    let (_proxy, address) = proxy(&site, directory.path())?;
    let (through, direct) = (Remote::connect(&address).await?, Remote::connect(site.address()).await?);
    let small = Bytes::from_static(b"a small blob");
    let large = Bytes::from((0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    for (content, to, from) in [(&small, &through, &direct), (&large, &through, &direct)] {
        let digest = Digest::of(content);
        to.store_any(content.clone()).await?;
        ensure!(from.missing(vec![digest.into()]).await?.is_empty(), "{digest} has not arrived");
        ensure!(from.read(&format!("blobs/{digest}"), 0, 0).await? == *content, "{digest}");
    }
    let other = Bytes::from(vec![7; 5_000_000]);
    let digest = Digest::of(&other);
    ensure!(through.missing(vec![digest.into()]).await?.len() == 1, "nobody has it yet");
    direct.store_any(other.clone()).await?;
    ensure!(through.missing(vec![digest.into()]).await?.is_empty(), "the proxy asks the server");
    ensure!(through.read(&format!("blobs/{digest}"), 0, 0).await? == other, "{digest}");
    Ok(())
}

#[test]
fn bazel_builds_through_it() -> Result<()> {
    let site = Pumphouse::up()?;
    let sources = [
        ("BUILD", "genrule(name = \"made\", srcs = [\"a\"], outs = [\"b\"], cmd = \"tr a-z A-Z < $< > $@\")\n"),
        ("a", "what is made of it\n"),
    ];
    for developer in ["one", "other"] {
        let directory = tempfile::tempdir()?;
        let (proxy, address) = proxy(&site, directory.path())?;
        let bazel = Bazel::remote(Version::Debian, &sources, &format!("grpc://{address}"))?;
        let built = bazel.succeed(&["build", "//:made"]).with_context(|| proxy.log())?;
        ensure!(built.was_cached() == (developer == "other"), "{developer}: {built}\n{}", proxy.log());
        ensure!(bazel.output("b").as_deref() == Some(b"WHAT IS MADE OF IT\n"), "{developer}: {built}");
    }
    Ok(())
}
