//! One connection, from its request to its last answer.

use super::Daemon;
use super::connection::Connection;
use super::local_run;
use crate::compile::Decision;
use crate::ipc::{Answer, BuildId, CompileRequest, Request};
use crate::stats::{StageTimes, Success};
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

/// Serves `stream` in a task. Compiles are tracked apart from control requests, which may wait for them.
pub(super) fn spawn(
    daemon: &Arc<Daemon>,
    stream: UnixStream,
    compiles: &TaskTracker,
    controls: &TaskTracker,
    permit: Option<OwnedSemaphorePermit>,
) {
    let daemon = Arc::clone(daemon);
    let compile_token = compiles.token();
    let control_token = controls.token();
    tokio::spawn(async move {
        let _permit = permit;
        let result = async {
            let mut connection = Connection::new(stream)?;
            let (tag, payload) = connection.read_request().await?;
            let (build, request) = Request::decode(tag, &payload)?;
            if let Some(Request::Compile(mut request)) = request {
                request.group = connection.other_group();
                drop(control_token);
                daemon.touch();
                let served = serve_compile(&daemon, request, &mut connection).await;
                daemon.touch();
                return served;
            }
            drop(compile_token);
            let served = serve_control(&daemon, build, request, &mut connection).await;
            drop(control_token);
            served
        };
        if let Err(error) = result.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

async fn serve_control(
    daemon: &Arc<Daemon>,
    build: BuildId,
    request: Option<Request>,
    connection: &mut Connection,
) -> io::Result<()> {
    match request {
        Some(Request::Stop) => {
            daemon.leave.cancel();
            daemon.finished.cancelled().await;
        }
        // Whoever asks gets what could be written.
        Some(Request::FlushStatistics) => super::flush(daemon).await,
        Some(Request::ZeroStatistics) => daemon.statistics.zero()?,
        // Compiles are served elsewhere, so this is another build's request.
        Some(Request::Compile(_)) | None => {
            tracing::info!(build = build.0, "asked by another build");
            daemon.leave.cancel();
            daemon.socket_gone.cancelled().await;
            return connection.send(&Answer::OtherBuild).await;
        }
    }
    connection.send(&Answer::Acknowledged).await
}

async fn serve_compile(daemon: &Arc<Daemon>, request: CompileRequest, connection: &mut Connection) -> io::Result<()> {
    let mut times = StageTimes::default();
    let request = Arc::new(request);
    let wanted = Arc::new(connection.wanted()?);
    let compiling = daemon.handler.compile(Arc::clone(&request), &wanted, &mut times);
    let Some(decision) = connection.alive(compiling).await? else {
        return Ok(());
    };
    match decision {
        Decision::Done { completed, outcome } => {
            let success = if completed.wait_status == 0 { Success::Yes } else { Success::No };
            daemon.statistics.record(outcome, success, &times);
            connection.send(&Answer::Done(completed)).await
        }
        Decision::Local(plan) => local_run::serve(daemon, &request, *plan, times, connection).await,
    }
}
