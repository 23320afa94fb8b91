//! A site that knows its callers: encrypted, with tokens for developers and workers.

use anyhow::{Context, Result, ensure};
use pumphouse_proto::asset::fetch_client::FetchClient;
use pumphouse_proto::asset::{FetchBlobRequest, Qualifier};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{Service, run, succeed};
use pumphouse_tests::program::program;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::path::Path;
use std::process::Command;
use tonic::Code;

const IDENTITIES: &str = "[[identity]]
name = \"developers\"
token = \"the-token-of-developers\"
roles = [\"read\", \"write-cas\", \"execute\"]

[[identity]]
name = \"workers\"
token = \"the-token-of-workers\"
roles = [\"worker\"]
";

/// An authority below `directory`, and the certificate that it gives to `localhost`.
fn certificates(directory: &Path) -> Result<()> {
    let script = "set -e
        new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
        openssl req $new -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >names
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem";
    succeed(Command::new("sh").args(["-c", script]).current_dir(directory))
        .context("openssl is the package openssl")?;
    Ok(())
}

fn secured(command: &str, directory: &Path) -> Result<Pumphouse> {
    certificates(directory)?;
    std::fs::write(directory.join("identities.toml"), IDENTITIES)?;
    std::fs::write(directory.join("developer"), "the-token-of-developers\n")?;
    std::fs::write(directory.join("worker"), "the-token-of-workers\n")?;
    let at = |name: &str| directory.join(name).display().to_string();
    let [identities, certificate, key] = [at("identities.toml"), at("server.pem"), at("server.key")];
    Pumphouse::start(command, &["--identities", &identities, "--tls-certificate", &certificate, "--tls-key", &key])
}

/// A developer of the site, who has what stands in `token` below `directory`.
fn developer(site: &Pumphouse, directory: &Path, token: Option<&str>) -> Result<Client> {
    let name = format!("developer-{}", token.unwrap_or("without"));
    let client = Client::new(&directory.join(name), Some(&format!("grpcs://{}", site.address())))?;
    let mut settings = format!("remote_ca_file = \"{}\"\n", directory.join("ca.pem").display());
    if let Some(token) = token {
        settings += &format!("remote_token_file = \"{}\"\n", directory.join(token).display());
    }
    std::fs::write(client.directory().join("pumphouse.toml"), settings)?;
    Ok(client)
}

#[test]
fn compiles_run_on_an_encrypted_server_that_knows_its_callers() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let site = secured("up", directory.path())?;
    let workspace = Workspace::new(&[("a.c", "#include <stdio.h>\nint main(void) { return puts(\"a\"); }\n")])?;
    let known = developer(&site, directory.path(), Some("developer"))?;
    workspace.check(&known, "gcc -c a.c -o a.o")?;
    ensure!(known.stats()?.remote_runs == 1, "{:?}\n{}", known.stats()?, site.server.log());
    // Whoever shows nothing, or what is not known, compiles at home, and the same bytes.
    std::fs::write(directory.path().join("nobody"), "a-token-of-nobody")?;
    for token in [None, Some("nobody")] {
        let stranger = developer(&site, directory.path(), token)?;
        workspace.check(&stranger, "gcc -c a.c -o a.o")?;
        let stats = stranger.stats()?;
        ensure!(stats.remote_runs == 0 && stats.hits() == 0, "{token:?}: {stats:?}");
    }
    Ok(())
}

#[test]
fn a_launcher_brings_its_own_token() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let site = secured("up", directory.path())?;
    let workspace = Workspace::new(&[("a.c", "int a = A;\n")])?;
    let client = developer(&site, directory.path(), None)?;
    for (number, token) in [(1, None), (2, Some("developer")), (3, None)] {
        let mut command = client.pumphouse(["gcc", &format!("-DA={number}"), "-c", "a.c"]);
        if let Some(token) = token {
            command.env("PUMPHOUSE_REMOTE_TOKEN_FILE", directory.path().join(token));
        }
        ensure!(run(command.current_dir(workspace.path()))?.status.success());
        ensure!(client.stats()?.remote_runs == u64::from(number >= 2), "{number}: {:?}", client.stats()?);
    }
    Ok(())
}

#[test]
fn workers_show_their_token() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let site = secured("server", directory.path())?;
    let start = |name: &str, token: &str| -> Result<Service> {
        let mut command = Command::new(program()?);
        let at = |name: &str| directory.path().join(name);
        command
            .args(["worker", "--slots", "2", "--server", &format!("grpcs://{}", site.address()), "--dir"])
            .arg(at(name));
        command.arg("--token-file").arg(at(token)).arg("--tls-ca").arg(at("ca.pem"));
        Service::start(&mut command, &at(&format!("{name}.log")))
    };
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    let _stranger = start("stranger-of-workers", "developer")?;
    let _worker = start("worker-of-site", "worker")?;
    site.server.until_log_holds("worker connected")?;
    let client = developer(&site, directory.path(), Some("developer"))?;
    workspace.check(&client, "gcc -c a.c -o a.o")?;
    ensure!(client.stats()?.remote_runs == 1, "{:?}\n{}", client.stats()?, site.server.log());
    ensure!(site.server.log().contains("denied"), "{}", site.server.log());
    Ok(())
}

#[test]
fn a_server_beyond_this_machine_wants_to_know_its_callers() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for command in ["server", "up"] {
        let mut line = Command::new(program()?);
        let output = run(line.args([command, "--listen", "0.0.0.0:0", "--dir"]).arg(directory.path()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("--identities") && said.contains("--insecure"), "{said}");
    }
    Ok(())
}

#[test]
fn a_configuration_is_printed_read_and_refused_in_words() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("server.toml");
    let server = |arguments: &[&str]| -> Result<std::process::Output> {
        run(Command::new(program()?).arg("server").args(arguments).arg("--config").arg(&file))
    };
    std::fs::write(&file, "[storage]\ncas-size = \"3G\"\n")?;
    let output = server(&["--print-config", "--action-cache-size", "1G"])?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success()
            && printed.contains("cas-size = \"3G\"")
            && printed.contains("action-cache-size = \"1G\""),
        "{printed}"
    );
    std::fs::write(&file, &printed)?;
    ensure!(server(&["--print-config"])?.stdout == printed.as_bytes());
    std::fs::write(&file, "[storage]\n\ncas-size = \"much\"\n")?;
    let output = server(&["--print-config"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("server.toml") && said.contains("line 3, column 12"), "{said}");
    Ok(())
}

#[tokio::test]
async fn blobs_are_fetched_over_encrypted_connections_from_those_whom_the_machine_trusts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let origin = secured("server", directory.path())?;
    let at = |name: &str| directory.path().join(name);
    let place = format!("https://{}/", origin.address());
    let bearer = "authorization: Bearer the-token-of-developers";
    let blob = pumphouse_proto::digest::Digest::of(b"from afar");
    let file = format!("{place}cas/{}", blob.hash_hex());
    std::fs::write(at("blob"), "from afar")?;
    let mut put = Command::new("curl");
    put.args(["-fsS", "--cacert"]).arg(at("ca.pem")).args(["-H", bearer, "-T"]).arg(at("blob")).arg(&file);
    succeed(&mut put).context("curl is the package curl")?;
    std::fs::write(at("fetch.toml"), format!("[fetch]\norigins = [{place:?}]\n"))?;
    for (trusted, expect) in [("ca.pem", Code::Ok), ("nobody.pem", Code::Aborted)] {
        std::fs::write(at("nobody.pem"), "")?;
        let mut server = Command::new(program()?);
        server.env("SSL_CERT_FILE", at(trusted)).args(["server", "--listen", "127.0.0.1:0", "--config"]);
        server.arg(at("fetch.toml")).arg("--dir").arg(at(&format!("server-{trusted}")));
        let service = Service::start(&mut server, &at("fetching.log"))?;
        let address = format!("http://{}", service.says("listening on ")?);
        let header = Qualifier {
            name: "http_header:Authorization".to_owned(),
            value: "Bearer the-token-of-developers".to_owned(),
        };
        let request = FetchBlobRequest { uris: vec![file.clone()], qualifiers: vec![header], ..Default::default() };
        let fetched = FetchClient::connect(address).await?.fetch_blob(request).await?.into_inner();
        let status = fetched.status.context("a status")?;
        ensure!(Code::from(status.code) == expect, "{trusted}: {status:?}\n{}", service.log());
        ensure!(expect != Code::Ok || fetched.blob_digest == Some(blob.into()));
    }
    Ok(())
}
