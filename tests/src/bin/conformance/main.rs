//! Whether a server does what the Remote Execution API says: a case for each fact, against any server.
//!
//! `tests/conformance [OPTIONS] grpc://HOST:PORT[/INSTANCE]` prints a line a case. Cases know nothing of the server but its answers;
//! each stores blobs of its own, so that they can be run side by side, and again.

mod actions;
mod assets;
mod batches;
mod capabilities;
mod functions;
mod http;
mod malformed;
mod presence;
mod reads;
mod report;
mod results;
mod suite;
mod target;
mod trees;
mod writes;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use pumphouse_proto::address::Address;
use pumphouse_proto::connection::Credentials;
use report::{Format, Report};
use std::process::ExitCode;
use std::time::Duration;
use suite::{Outcome, Suite};
use target::Target;

/// How long a case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// How many cases run at a time.
const TOGETHER: usize = 8;

const USAGE: &str = "usage: conformance [OPTIONS] grpc[s]://HOST:PORT[/INSTANCE]

  --only TEXT         the cases whose names hold TEXT
  --list              the names and facts of all cases, without running them
  --execute           also actions: a worker with /bin/sh has to be there
  --http              also the caches by plain HTTP on the same port
  --json              an object a line
  --token-file FILE   the bearer token to show
  --ca FILE           the authorities that may vouch for the server
  --certificate FILE --key FILE   the client's certificate

Exit code: 0 if every case that applies is right, 1 if one is not, 2 if nothing could be asked.";

struct Options {
    address: String,
    only: String,
    lists: bool,
    executes: bool,
    speaks_http: bool,
    format: Format,
    credentials: Credentials,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<ExitCode> {
    let options = read_options()?;
    let mut suite = Suite::default();
    capabilities::add(&mut suite);
    presence::add(&mut suite);
    batches::add(&mut suite);
    writes::add(&mut suite);
    reads::add(&mut suite);
    trees::add(&mut suite);
    results::add(&mut suite);
    malformed::add(&mut suite);
    assets::add(&mut suite);
    functions::add(&mut suite);
    if options.executes {
        actions::add(&mut suite);
        functions::add_actions(&mut suite);
    }
    if options.speaks_http {
        http::add(&mut suite);
    }
    let cases = suite.into_cases(&options.only);
    if options.lists {
        for case in &cases {
            println!("{:<60} {}", case.name, case.fact);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let address = Address::parse(&options.address)?;
    let target = Target::connect(&address, &options.credentials).await.context("asking for the capabilities")?;
    let mut report = Report::new(options.format);
    let outcomes = futures::stream::iter(cases)
        .map(|case| {
            let target = target.clone();
            async move {
                let ended = tokio::time::timeout(CASE_LIMIT, tokio::spawn((case.run)(target))).await;
                let outcome = match ended {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => Outcome::Wrong(format!("the case ended: {error}")),
                    Err(_) => Outcome::Wrong(format!("no end within {CASE_LIMIT:?}")),
                };
                (case.name, case.fact, outcome)
            }
        })
        .buffered(TOGETHER);
    futures::pin_mut!(outcomes);
    while let Some((name, fact, outcome)) = outcomes.next().await {
        report.add(&name, fact, &outcome);
    }
    Ok(if report.end() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_options() -> Result<Options> {
    let mut options = Options {
        address: String::new(),
        only: String::new(),
        lists: false,
        executes: false,
        speaks_http: false,
        format: Format::Text,
        credentials: Credentials::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument}: lacks its value"));
        match argument.as_str() {
            "--only" => options.only = value()?,
            "--list" => options.lists = true,
            "--execute" => options.executes = true,
            "--http" => options.speaks_http = true,
            "--json" => options.format = Format::Json,
            "--token-file" => options.credentials.token_file = Some(value()?.into()),
            "--ca" => options.credentials.ca_file = Some(value()?.into()),
            "--certificate" => options.credentials.certificate_file = Some(value()?.into()),
            "--key" => options.credentials.key_file = Some(value()?.into()),
            "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            address if !address.starts_with('-') && options.address.is_empty() => {
                address.clone_into(&mut options.address);
            }
            _ => bail!("{argument}: not understood\n{USAGE}"),
        }
    }
    if options.address.is_empty() && !options.lists {
        bail!("no server is named\n{USAGE}");
    }
    Ok(options)
}
