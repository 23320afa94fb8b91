//! Actions through a real server and a real worker, with real commands.

mod support;

use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::command::OutputDirectoryFormat;
use pumphouse_proto::reapi::{Command, ExecuteResponse};
use pumphouse_proto::status;
use pumphouse_proto::tree::TreeBuilder;
use pumphouse_worker::sandbox::Level;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;
use support::{Cluster, command, host_path, sh};
use tonic::Code;

#[tokio::test]
async fn a_plain_action_reads_inputs_and_makes_outputs() {
    let cluster = Cluster::start(2).await;
    let script = "cat in/a; echo problem >&2; echo made > out/b; chmod 755 out/b; ln -s b out/link; \
                  mkdir -p out/dir/sub; echo deep > out/dir/sub/c; ln -s nowhere out/dangling; exit 7";
    let command = Command {
        output_paths: ["out/b", "out/link", "out/dir", "out/dangling", "out/missing"].map(str::to_owned).to_vec(),
        ..sh(script)
    };
    let response = cluster.execute_with(&command, &[("in/a", b"input\n", false)], &[]).await;
    let result = response.result.expect("a result");
    assert_eq!(result.exit_code, 7);
    assert_eq!((&result.stdout_raw[..], &result.stderr_raw[..]), (&b"input\n"[..], &b"problem\n"[..]));
    let [file] = &result.output_files[..] else { panic!("{result:?}") };
    assert!(file.is_executable && file.path == "out/b");
    assert_eq!(cluster.read(file.digest.as_ref()).await, "made\n");
    let links: Vec<_> = result.output_symlinks.iter().map(|link| (link.path.as_str(), link.target.as_str())).collect();
    assert_eq!(links, [("out/link", "b"), ("out/dangling", "nowhere")]);
    let [directory] = &result.output_directories[..] else { panic!("{result:?}") };
    let tree = cluster.tree(directory.tree_digest.as_ref()).await;
    assert_eq!(tree.root.expect("a root").directories[0].name, "sub");
    assert_eq!(tree.children[0].files[0].digest, Some(Digest::of(b"deep\n").into()));
    let metadata = result.execution_metadata.expect("metadata");
    assert!(!metadata.worker.is_empty() && metadata.execution_completed_timestamp.is_some());
}

#[tokio::test]
async fn the_whole_root_can_be_the_input_root() {
    let cluster = Cluster::start(1).await;
    let mut tree = TreeBuilder::new();
    for program in ["/bin/sh", "/bin/cat"] {
        cluster.add_program(&mut tree, program).await;
    }
    tree.file("home/me/project/a.txt", cluster.store(b"text").await).expect("free");
    tree.symlink("home/me/link", "/home/me/project").expect("free");
    tree.directory("empty").expect("free");
    let command = Command {
        arguments: ["/bin/sh", "-c", "echo /* $PWD; cat /home/me/link/a.txt > ../made"].map(str::to_owned).to_vec(),
        working_directory: "home/me/project".to_owned(),
        output_paths: vec!["../made".to_owned()],
        ..Command::default()
    };
    let response = cluster.execute(&command, &tree, &[("InputRootAbsolutePath", "/")]).await;
    let result = response.result.expect("a result");
    let printed = String::from_utf8_lossy(&result.stdout_raw).into_owned();
    assert!(printed.contains("/empty") && printed.contains("/home") && !printed.contains("/work"), "{printed}");
    assert!(printed.ends_with("/home/me/project\n"), "{printed}");
    assert_eq!(result.output_files[0].path, "../made");
    assert_eq!(cluster.read(result.output_files[0].digest.as_ref()).await, "text");
}

#[tokio::test]
async fn a_worker_can_be_one_whose_actions_bring_their_whole_root() {
    let cluster = Cluster::start_with(1, |config| config.exec_root = "/".into()).await;
    let mut tree = TreeBuilder::new();
    cluster.add_program(&mut tree, "/bin/sh").await;
    let command = Command {
        arguments: ["/bin/sh", "-c", "echo /*; echo $PWD"].map(str::to_owned).to_vec(),
        ..Command::default()
    };
    let result = cluster.execute(&command, &tree, &[]).await.result.expect("a result");
    let printed = String::from_utf8_lossy(&result.stdout_raw).into_owned();
    assert!(printed.starts_with("/bin /dev /lib") && printed.ends_with("/proc /tmp\n/\n"), "{printed}");
    let response = cluster.execute_with(&sh("echo $PWD"), &[], &[("InputRootAbsolutePath", "/place")]).await;
    assert_eq!(response.result.expect("a result").stdout_raw, "/place\n", "who says it has it so");
}

#[tokio::test]
async fn output_directories_come_as_the_client_wants_them() {
    let cluster = Cluster::start(1).await;
    for (format, is_tree, is_directory) in [
        (OutputDirectoryFormat::TreeOnly, true, false),
        (OutputDirectoryFormat::DirectoryOnly, false, true),
        (OutputDirectoryFormat::TreeAndDirectory, true, true),
    ] {
        let command = Command {
            output_paths: vec!["out".to_owned()],
            output_directory_format: format.into(),
            ..sh("mkdir -p out/a/b out/c/b; echo 1 > out/a/b/x; echo 1 > out/c/b/x")
        };
        let result = cluster.execute_with(&command, &[], &[]).await.result.expect("a result");
        let [directory] = &result.output_directories[..] else { panic!("{result:?}") };
        assert_eq!(directory.tree_digest.is_some(), is_tree, "{format:?}");
        assert_eq!(directory.root_directory_digest.is_some(), is_directory, "{format:?}");
        if is_tree {
            assert_eq!(cluster.tree(directory.tree_digest.as_ref()).await.children.len(), 2, "equal ones stand once");
        }
        if is_directory {
            let root = cluster.directory(directory.root_directory_digest.as_ref()).await;
            let names: Vec<_> = root.directories.iter().map(|node| node.name.as_str()).collect();
            assert_eq!(names, ["a", "c"]);
            let below = cluster.directory(root.directories[1].digest.as_ref()).await;
            let deep = cluster.directory(below.directories[0].digest.as_ref()).await;
            assert_eq!(deep.files[0].name, "x");
        }
    }
}

#[tokio::test]
async fn replicas_follow_the_input_root() {
    let cluster = Cluster::start(1).await;
    let list =
        "find . -type f -printf '%p %m %T@\\n' -o -type l -printf '%p -> %l\\n' -o -type d -printf '%p/\\n' | sort";
    let check = async |files: &[(&str, &[u8], bool)], expect: &str| {
        let response = cluster.execute_with(&sh(list), files, &[]).await;
        let result = response.result.unwrap_or_else(|| panic!("{:?}", response.status));
        assert_eq!(String::from_utf8_lossy(&result.stdout_raw), expect);
    };
    let time = "1000000000.0000000000";
    check(&[("a/b", b"1", false), ("c", b"2", true)], &format!("./\n./a/\n./a/b 444 {time}\n./c 555 {time}\n")).await;
    check(&[("a/b", b"3", false), ("c", b"2", false)], &format!("./\n./a/\n./a/b 444 {time}\n./c 444 {time}\n")).await;
    check(&[("a", b"3", false), ("c/d", b"2", false)], &format!("./\n./a 444 {time}\n./c/\n./c/d 444 {time}\n")).await;
    check(&[], "./\n").await;
    check(&[("c/d/e/f", b"2", true)], &format!("./\n./c/\n./c/d/\n./c/d/e/\n./c/d/e/f 555 {time}\n")).await;
}

#[tokio::test]
async fn equal_contents_at_two_paths_have_two_inodes_and_times() {
    let cluster = Cluster::start(1).await;
    let files: &[(&str, &[u8], bool)] =
        &[("a/x.h", b"same", false), ("b/x.h", b"same", false), ("c/x.h", b"same", false)];
    let response = cluster
        .execute_with(
            &sh("stat -c '%i' */x.h | sort -u | wc -l; stat -c %Y */x.h | sort -u | wc -l; cat */x.h"),
            files,
            &[],
        )
        .await;
    let result = response.result.expect("a result");
    assert_eq!(String::from_utf8_lossy(&result.stdout_raw), "3\n3\nsamesamesame");
}

#[tokio::test]
async fn missing_inputs_are_named_all_at_once() {
    let cluster = Cluster::start(1).await;
    let mut tree = TreeBuilder::new();
    let absent = [Digest::of(b"absent 1"), Digest::of(b"absent 2")];
    tree.file("a", absent[0]).expect("free");
    tree.executable("b/c", absent[1]).expect("free");
    tree.executable("b/d", cluster.store(b"present").await).expect("free");
    let absent_directory = Digest::of(b"absent directory");
    tree.subtree("e", absent_directory).expect("free");
    let response = cluster.execute(&sh("true"), &tree, &[]).await;
    let status = status::from_message(&response.status.expect("a status"));
    let mut named = status::missing_blobs_in(&status).unwrap_or_else(|| panic!("{status:?}"));
    named.sort_unstable();
    let mut expect = vec![absent[0], absent[1], absent_directory];
    expect.sort_unstable();
    assert_eq!(named, expect);
    let after = cluster.execute_with(&sh("true"), &[("b/d", b"present", true)], &[]).await;
    assert_eq!(code(&after), Code::Ok, "the slot goes on");
}

fn code(response: &ExecuteResponse) -> Code {
    Code::from(response.status.as_ref().map_or(0, |status| status.code))
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_right_status() {
    let cluster = Cluster::start(1).await;
    let check = async |command: Command, expect: Code| {
        let response = cluster.execute_with(&command, &[("file", b"", false)], &[]).await;
        assert_eq!(code(&response), expect, "{command:?} {response:?}");
    };
    check(command(&["no-such-program"]), Code::FailedPrecondition).await;
    check(Command { output_paths: vec!["file/x".to_owned()], ..sh("true") }, Code::FailedPrecondition).await;
    check(Command { output_paths: vec!["../x".to_owned()], ..sh("true") }, Code::InvalidArgument).await;
    check(sh("true"), Code::Ok).await;
}

#[tokio::test]
async fn a_timeout_gives_what_was_printed() {
    let cluster = Cluster::start(1).await;
    let mut tree = TreeBuilder::new();
    tree.directory("").expect("the root");
    let response =
        cluster.execute_within(&sh("echo partial; sleep 1000"), &tree, Some(Duration::from_millis(400))).await;
    assert_eq!(code(&response), Code::DeadlineExceeded);
    assert_eq!(&response.result.expect("a partial result").stdout_raw[..], b"partial\n");
}

#[tokio::test]
async fn older_output_lists_work() {
    let cluster = Cluster::start(1).await;
    #[expect(deprecated, reason = "that is what is tested")]
    let command = Command {
        output_files: vec!["out/a".to_owned(), "out/link".to_owned(), "out/dir".to_owned()],
        output_directories: vec!["out/dir".to_owned(), "out/a".to_owned()],
        ..sh("echo x > out/a; ln -s a out/link; mkdir out/dir; echo y > out/dir/b")
    };
    let result = cluster.execute_with(&command, &[], &[]).await.result.expect("a result");
    assert_eq!(result.output_files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["out/a"]);
    assert_eq!(
        result.output_directories.iter().map(|directory| directory.path.as_str()).collect::<Vec<_>>(),
        ["out/dir"]
    );
    #[expect(deprecated, reason = "that is what is tested")]
    let links = &result.output_file_symlinks;
    assert_eq!((links[0].path.as_str(), links.len(), result.output_symlinks.len()), ("out/link", 1, 0));
}

#[tokio::test]
async fn links_are_never_followed_out_of_the_root() {
    let cluster = Cluster::start(1).await;
    let command = Command {
        output_paths: ["etc/passwd", "file", "up/etc/passwd"].map(str::to_owned).to_vec(),
        ..sh("rmdir etc up; rm -rf etc up up2; ln -s /etc etc; ln -s /etc/passwd file; ln -s ../../../../../.. up")
    };
    let response = cluster.execute_with(&command, &[], &[]).await;
    let result = response.result.unwrap_or_else(|| panic!("{:?}", response.status));
    assert!(result.output_files.is_empty(), "{result:?}");
    assert_eq!(result.output_symlinks.len(), 1);
}

#[tokio::test]
async fn a_compiler_compiles() {
    let cluster = Cluster::start(2).await;
    let command = Command {
        arguments: ["gcc", "-O2", "-g", "-c", "src/a.c", "-o", "out/a.o"].map(str::to_owned).to_vec(),
        environment_variables: vec![host_path()],
        output_paths: vec!["out/a.o".to_owned()],
        ..Command::default()
    };
    let source = b"#include <stdio.h>\n#include \"a.h\"\nint main(void) { return printf(\"%d\", A); }\n";
    let response =
        cluster.execute_with(&command, &[("src/a.c", source, false), ("src/a.h", b"#define A 1\n", false)], &[]).await;
    let result = response.result.expect("a result");
    assert_eq!((result.exit_code, &result.stderr_raw[..]), (0, &b""[..]));
    assert_eq!(result.output_files.len(), 1);
}

#[tokio::test]
async fn a_drained_worker_leaves() {
    let cluster = Cluster::start(1).await;
    assert_eq!(code(&cluster.execute_with(&sh("true"), &[], &[]).await), Code::Ok);
    cluster.stop().await;
}

#[tokio::test]
async fn every_level_of_isolation_executes() {
    for level in support::levels() {
        let cluster = Cluster::start_at(level, 1).await;
        let command = Command {
            arguments: ["gcc", "-c", "src/a.c", "-o", "out/a.o"].map(str::to_owned).to_vec(),
            environment_variables: vec![host_path()],
            output_paths: vec!["out/a.o".to_owned()],
            ..Command::default()
        };
        let first = cluster.execute_with(&command, &[("src/a.c", b"int a = 1;", false)], &[]).await;
        let first = first.result.unwrap_or_else(|| panic!("{level:?} {:?}", first.status));
        assert_eq!((first.exit_code, first.output_files.len()), (0, 1), "{level:?} {first:?}");
        let spoil = sh("chmod -R 777 . 2>/dev/null; echo bad > src/a.c; rm -rf src; echo left > over; true");
        cluster.execute_with(&spoil, &[("src/a.c", b"int a = 1;", false)], &[]).await;
        let list = sh("find . -type f | xargs cat");
        let list = cluster.execute_with(&list, &[("src/a.c", b"int a = 1;", false)], &[]).await;
        let list = list.result.unwrap_or_else(|| panic!("{level:?} {:?}", list.status));
        assert_eq!(String::from_utf8_lossy(&list.stdout_raw), "int a = 1;", "{level:?}: nothing is left of an action");
        if level == Level::None {
            continue;
        }
        let mut tree = TreeBuilder::new();
        cluster.add_program(&mut tree, "/bin/sh").await;
        let command = Command {
            arguments: ["/bin/sh", "-c", "echo x > /dev/null && echo $PWD && echo y > /tmp/z"]
                .map(str::to_owned)
                .to_vec(),
            working_directory: "home/me".to_owned(),
            ..Command::default()
        };
        let response = cluster.execute(&command, &tree, &[("InputRootAbsolutePath", "/")]).await;
        let result = response.result.unwrap_or_else(|| panic!("{level:?} {:?}", response.status));
        assert_eq!((&result.stdout_raw[..], &result.stderr_raw[..]), (&b"/home/me\n"[..], &b""[..]), "{level:?}");
    }
}

#[tokio::test]
async fn what_the_store_shares_no_action_can_change() {
    let (data, tool) = (vec![b'd'; 100_000], [&b"#!/bin/sh\n"[..], &vec![b'#'; 100_000]].concat());
    let files: &[(&str, &[u8], bool)] = &[("data", &data, false), ("sub/tool", &tool, true)];
    for level in support::levels() {
        let cluster = Cluster::start_in_one_process(level, 1).await;
        let say = sh("cksum data sub/tool; stat -c '%a %Y' data sub/tool");
        let first = cluster.execute_with(&say, files, &[]).await.result.expect("a result");
        let stored = [&data, &tool].map(|bytes| cluster.stored_file(Digest::of(bytes)));
        let state = || {
            stored.each_ref().map(|path| {
                let metadata = std::fs::metadata(path).expect("stored");
                (metadata.ino(), metadata.mode(), metadata.mtime(), std::fs::read(path).expect("stored"))
            })
        };
        let before = state();
        let is_shared = stored.each_ref().map(|path| std::fs::metadata(path).expect("stored").nlink() > 1);
        assert_eq!(is_shared, [true, true], "{level:?}");
        let spoil = sh("for file in data sub/tool; do echo bad > $file; chmod u+w $file; echo bad >> $file; \
                        touch $file; rm -f $file; echo bad > $file; done 2>/dev/null; chmod -R 777 .; true");
        cluster.execute_with(&spoil, files, &[]).await;
        assert!(state() == before, "{level:?}");
        let again = cluster.execute_with(&say, files, &[]).await.result.expect("a result");
        assert_eq!(first.stdout_raw, again.stdout_raw, "{level:?}");
        let said = String::from_utf8_lossy(&again.stdout_raw).into_owned();
        assert!(said.contains("\n444 10000000") && said.contains("\n555 10000000"), "{level:?} {said}");
    }
}

#[tokio::test]
async fn runs_survive_the_server() {
    let mut cluster = Cluster::start(1).await;
    let mut tree = TreeBuilder::new();
    tree.directory("").expect("the root");
    let marker = format!("3.000{}", std::process::id());
    let action = cluster.upload_action(&sh(&format!("date +%s%N; sleep {marker}")), &tree).await;
    let started = cluster.start_executing(&action).await;
    support::wait_for_process(&marker).await;
    cluster.restart_server().await;
    let response = cluster.finish_executing(&started, &action).await;
    let result = response.result.unwrap_or_else(|| panic!("{:?}", response.status));
    assert_eq!(result.exit_code, 0);
    let began: u128 = String::from_utf8_lossy(&result.stdout_raw).trim().parse().expect("a time");
    assert!(began < cluster.restarted_at(), "the run that had begun before the restart is the one that counted");
}
