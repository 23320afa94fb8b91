//! A server and a worker in this process, and a client of them.

use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::address::Address;
use pumphouse_proto::cas::LocalCas;
use pumphouse_proto::cas_client::{CasClient, Source, Upload};
use pumphouse_proto::connection::{Connection, Credentials, Dialer};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::{Operation, operation};
use pumphouse_proto::reapi::command::EnvironmentVariable;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::platform::Property;
use pumphouse_proto::reapi::{
    self, Action, Command, ExecuteOperationMetadata, ExecuteRequest, ExecuteResponse, Platform, Tree,
    WaitExecutionRequest, execution_stage,
};
use pumphouse_proto::tree::TreeBuilder;
use pumphouse_worker::sandbox::Level;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Cluster {
    channel: Connection,
    cas: CasClient,
    worker: JoinHandle<anyhow::Result<()>>,
    stop_worker: oneshot::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
    address: SocketAddr,
    restarted_at: u128,
    dir: TempDir,
}

impl Cluster {
    pub(crate) async fn start(slots: usize) -> Self {
        Self::start_at(Level::UserNamespaces, slots).await
    }

    /// A worker that uses no better isolation than `level`.
    pub(crate) async fn start_at(level: Level, slots: usize) -> Self {
        Self::start_with(slots, |config| config.isolation = level).await
    }

    /// A worker that is told what `tell` says, too.
    pub(crate) async fn start_with(slots: usize, tell: impl FnOnce(&mut pumphouse_worker::Config)) -> Self {
        Self::start_beside(slots, |config, _| tell(config)).await
    }

    /// A worker whose blobs come from the store itself, and that uses no better isolation than `level`.
    pub(crate) async fn start_in_one_process(level: Level, slots: usize) -> Self {
        let tell = |config: &mut pumphouse_worker::Config, local_cas| {
            config.isolation = level;
            config.local_cas = Some(local_cas);
        };
        Self::start_beside(slots, tell).await
    }

    /// A worker that is told what `tell` says, which may be the server's store.
    async fn start_beside(slots: usize, tell: impl FnOnce(&mut pumphouse_worker::Config, Arc<dyn LocalCas>)) -> Self {
        let dir = TempDir::new().expect("a scratch directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
        let any_port = "127.0.0.1:0".parse().expect("an address");
        let (address, local_cas, server) = serve(any_port, dir.path()).await.expect("the server starts");
        let mut config = pumphouse_worker::Config {
            slots,
            ..pumphouse_worker::Config::new(format!("grpc://{address}"), dir.path().join("worker"))
        };
        tell(&mut config, local_cas);
        let (stop_worker, stopped) = oneshot::channel();
        let worker = tokio::spawn(pumphouse_worker::run(config, async {
            let _ = stopped.await;
        }));
        let place = Address::parse(&format!("grpc://{address}")).expect("an address");
        let dialer = Dialer::new(&place, &Credentials::default(), |endpoint| endpoint).expect("nothing to read");
        let channel = dialer.connect_lazy();
        let cas = CasClient::new(channel.clone(), "", 0);
        Self { channel, cas, worker, stop_worker, server, address, restarted_at: 0, dir }
    }

    /// Ends the server without ceremony and starts another on the same port and files.
    pub(crate) async fn restart_server(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        self.restarted_at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            match serve(self.address, self.dir.path()).await {
                Ok((_, _, server)) => {
                    self.server = server;
                    return;
                }
                Err(error) if tokio::time::Instant::now() > deadline => panic!("the server starts again: {error:#}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// When the server was last restarted, in nanoseconds since 1970.
    pub(crate) fn restarted_at(&self) -> u128 {
        self.restarted_at
    }

    pub(crate) async fn stop(self) {
        self.stop_worker.send(()).expect("the worker listens");
        let ended = tokio::time::timeout(Duration::from_secs(30), self.worker).await;
        ended.expect("the worker leaves").expect("without panic").expect("without error");
    }

    /// The file of a blob in the store.
    pub(crate) fn stored_file(&self, digest: Digest) -> PathBuf {
        let hash = digest.hash_hex();
        self.dir.path().join("server/cas").join(&hash[..2]).join(hash)
    }

    pub(crate) async fn store(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let source = Source::Bytes(Bytes::copy_from_slice(content));
        self.cas.upload(vec![Upload { digest, source }]).await.expect("stored");
        digest
    }

    /// Adds a program and the libraries that it is linked with.
    pub(crate) async fn add_program(&self, tree: &mut TreeBuilder, program: &str) {
        let listed = std::process::Command::new("ldd").arg(program).output().expect("ldd of libc-bin runs");
        let listed = String::from_utf8(listed.stdout).expect("text");
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        for path in libraries.chain([PathBuf::from(program)]) {
            let digest = self.store(&std::fs::read(&path).expect("readable")).await;
            let relative = Path::new(&path).strip_prefix("/").expect("absolute").to_str().expect("text");
            tree.executable(relative, digest).expect("free");
        }
    }

    pub(crate) async fn execute_with(
        &self,
        command: &Command,
        files: &[(&str, &[u8], bool)],
        properties: &[(&str, &str)],
    ) -> ExecuteResponse {
        let mut tree = TreeBuilder::new();
        for (path, content, is_executable) in files {
            let add = if *is_executable { TreeBuilder::executable } else { TreeBuilder::file };
            add(&mut tree, path, self.store(content).await).expect("free");
        }
        self.execute(command, &tree, properties).await
    }

    pub(crate) async fn execute(
        &self,
        command: &Command,
        tree: &TreeBuilder,
        properties: &[(&str, &str)],
    ) -> ExecuteResponse {
        let property = |(name, value): &(&str, &str)| Property { name: (*name).to_owned(), value: (*value).to_owned() };
        let platform = Platform { properties: properties.iter().map(property).collect() };
        self.run(command, tree, Action { platform: Some(platform), ..Action::default() }).await
    }

    pub(crate) async fn execute_within(
        &self,
        command: &Command,
        tree: &TreeBuilder,
        timeout: Option<Duration>,
    ) -> ExecuteResponse {
        let timeout = timeout.map(|timeout| timeout.try_into().expect("short"));
        self.run(command, tree, Action { timeout, ..Action::default() }).await
    }

    async fn run(&self, command: &Command, tree: &TreeBuilder, action: Action) -> ExecuteResponse {
        let digest = self.store_action(command, tree, action).await;
        let mut client = ExecutionClient::new(self.channel.clone());
        let operations = client.execute(execute(&digest)).await.expect("accepted").into_inner();
        response_of(operations).await.expect("a response")
    }

    pub(crate) async fn upload_action(&self, command: &Command, tree: &TreeBuilder) -> reapi::Digest {
        self.store_action(command, tree, Action::default()).await
    }

    async fn store_action(&self, command: &Command, tree: &TreeBuilder, action: Action) -> reapi::Digest {
        let tree = tree.build();
        for blob in tree.directories.values() {
            self.store(blob).await;
        }
        let command_digest = self.store(&command.encode_to_vec()).await;
        let action =
            Action { command_digest: Some(command_digest.into()), input_root_digest: Some(tree.root.into()), ..action };
        self.store(&action.encode_to_vec()).await.into()
    }

    /// Executes until the command runs; gives the operation's name.
    pub(crate) async fn start_executing(&self, action: &reapi::Digest) -> String {
        let mut client = ExecutionClient::new(self.channel.clone());
        let mut operations = client.execute(execute(action)).await.expect("accepted").into_inner();
        loop {
            let operation = operations.message().await.expect("the stream lives").expect("it goes on");
            let metadata = operation.metadata.expect("metadata");
            let metadata = ExecuteOperationMetadata::decode(&metadata.value[..]).expect("metadata");
            if metadata.stage() == execution_stage::Value::Executing {
                return operation.name;
            }
        }
    }

    /// Waits for an operation, or executes its action again where the server does not know it any more.
    pub(crate) async fn finish_executing(&self, name: &str, action: &reapi::Digest) -> ExecuteResponse {
        let mut client = ExecutionClient::new(self.channel.clone());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while tokio::time::Instant::now() < deadline {
            let waiting = client.wait_execution(WaitExecutionRequest { name: name.to_owned() }).await;
            let operations = match waiting {
                Err(status) if status.code() == tonic::Code::NotFound => client.execute(execute(action)).await,
                outcome => outcome,
            };
            if let Ok(operations) = operations
                && let Some(response) = response_of(operations.into_inner()).await
            {
                return response;
            }
            tokio::task::yield_now().await;
        }
        panic!("the action does not end");
    }

    pub(crate) async fn read(&self, digest: Option<&reapi::Digest>) -> String {
        String::from_utf8(self.blob(digest).await.to_vec()).expect("text")
    }

    pub(crate) async fn tree(&self, digest: Option<&reapi::Digest>) -> Tree {
        Tree::decode(self.blob(digest).await).expect("a tree")
    }

    pub(crate) async fn directory(&self, digest: Option<&reapi::Digest>) -> reapi::Directory {
        reapi::Directory::decode(self.blob(digest).await).expect("a directory")
    }

    async fn blob(&self, digest: Option<&reapi::Digest>) -> Bytes {
        let digest = Digest::try_from(digest.expect("a digest")).expect("well formed");
        self.cas.read(digest).await.expect("readable").expect("present")
    }
}

type Serving = (SocketAddr, Arc<dyn LocalCas>, JoinHandle<anyhow::Result<()>>);

async fn serve(listen: SocketAddr, dir: &Path) -> anyhow::Result<Serving> {
    let config = pumphouse_server::Config { listen, dir: dir.join("server"), ..pumphouse_server::Config::default() };
    let server = pumphouse_server::Server::bind(config).await?;
    Ok((server.local_addr()?, server.local_cas(), tokio::spawn(server.serve(std::future::pending()))))
}

fn execute(action: &reapi::Digest) -> ExecuteRequest {
    ExecuteRequest { action_digest: Some(action.clone()), skip_cache_lookup: true, ..ExecuteRequest::default() }
}

async fn response_of(mut operations: tonic::Streaming<Operation>) -> Option<ExecuteResponse> {
    while let Ok(Some(operation)) = operations.message().await {
        if let Some(operation::Result::Response(response)) = operation.result {
            return Some(ExecuteResponse::decode(&response.value[..]).expect("a response"));
        }
    }
    None
}

/// Waits until a process has `word` in its command line.
pub(crate) async fn wait_for_process(word: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while tokio::time::Instant::now() < deadline {
        let lines = std::fs::read_dir("/proc").expect("/proc is there").filter_map(Result::ok);
        let mut lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        if lines.any(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no process has {word}");
}

/// The levels that this machine and user allow.
pub(crate) fn levels() -> Vec<Level> {
    if rustix::process::geteuid().is_root() {
        vec![Level::UserNamespaces, Level::Namespaces, Level::Chroot, Level::None]
    } else {
        vec![Level::UserNamespaces, Level::None]
    }
}

pub(crate) fn host_path() -> EnvironmentVariable {
    EnvironmentVariable { name: "PATH".to_owned(), value: "/usr/bin:/bin".to_owned() }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    Command {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        environment_variables: vec![host_path()],
        ..Command::default()
    }
}

pub(crate) fn sh(script: &str) -> Command {
    command(&["sh", "-c", script])
}
