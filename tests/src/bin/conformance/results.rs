//! `ActionCache`.

use super::suite::{Outcome, Suite, Verdict, check, fails, same};
use super::target::Target;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    ActionResult, Directory, ExecutedActionMetadata, FileNode, GetActionResultRequest, OutputDirectory, OutputFile,
    OutputSymlink, Tree, UpdateActionResultRequest,
};
use tonic::{Code, Status};

async fn get(target: &Target, request: GetActionResultRequest) -> Result<ActionResult, Status> {
    let request = GetActionResultRequest { instance_name: target.instance(), ..request };
    Ok(target.action_cache().get_action_result(request).await?.into_inner())
}

fn of(action: Digest) -> GetActionResultRequest {
    GetActionResultRequest { action_digest: Some(action.into()), ..Default::default() }
}

async fn put(target: &Target, action: Digest, result: &ActionResult) -> Result<(), Outcome> {
    let cache = target.capabilities.cache_capabilities.clone().unwrap_or_default();
    if !cache.action_cache_update_capabilities.unwrap_or_default().update_enabled {
        return Err(Outcome::Absent("the action cache may not be written".to_owned()));
    }
    let request = UpdateActionResultRequest {
        instance_name: target.instance(),
        action_digest: Some(action.into()),
        action_result: Some(result.clone()),
        ..Default::default()
    };
    target.action_cache().update_action_result(request).await?;
    Ok(())
}

fn file(path: &str, digest: Digest) -> OutputFile {
    OutputFile { path: path.into(), digest: Some(digest.into()), ..Default::default() }
}

/// Stores a result, and requires that it is not given, since something that it names is absent.
async fn is_a_miss(target: &Target, result: &ActionResult) -> Verdict {
    let action = Digest::of(&target.unique(60));
    match put(target, action, result).await {
        Ok(()) => fails(get(target, of(action)).await, &[Code::NotFound]),
        // It may be refused at once as well.
        Err(Outcome::Wrong(why)) if why.starts_with("InvalidArgument") || why.starts_with("FailedPrecondition") => {
            Ok(())
        }
        Err(outcome) => Err(outcome),
    }
}

pub(super) fn add(suite: &mut Suite) {
    suite.case("result/absent", "what nobody has run has no result", |target| async move {
        let action = Digest::of(&target.unique(60));
        fails(get(&target, of(action)).await, &[Code::NotFound])
    });
    suite.case("result/roundtrip", "what was put is given", |target| async move {
        let output = target.store(&[target.unique(100)]).await?[0];
        let action = Digest::of(&target.unique(60));
        let result = ActionResult {
            output_files: vec![file("o", output)],
            stdout_raw: Bytes::from_static(b"said"),
            execution_metadata: Some(ExecutedActionMetadata { worker: "w".into(), ..Default::default() }),
            ..Default::default()
        };
        put(&target, action, &result).await?;
        let given = get(&target, of(action)).await?;
        same("output_files", &given.output_files, &result.output_files)?;
        same("worker", &given.execution_metadata.unwrap_or_default().worker, &"w".to_owned())
    });
    suite.case("result/empty", "a result without outputs is a result", |target| async move {
        let action = Digest::of(&target.unique(60));
        put(&target, action, &ActionResult::default()).await?;
        same("exit_code", &get(&target, of(action)).await?.exit_code, &0)
    });
    suite.case("result/replaced", "a newer result takes the place of an older one", |target| async move {
        let outputs = target.store(&[target.unique(100), target.unique(100)]).await?;
        let action = Digest::of(&target.unique(60));
        for output in outputs {
            let result = ActionResult { output_files: vec![file("o", output)], ..Default::default() };
            put(&target, action, &result).await?;
            same("output_files", &get(&target, of(action)).await?.output_files, &result.output_files)?;
        }
        Ok(())
    });
    suite.case("result/size", "the size is part of the action's digest", |target| async move {
        let action = Digest::of(&target.unique(60));
        put(&target, action, &ActionResult::default()).await?;
        get(&target, of(action)).await?;
        fails(get(&target, of(Digest::new(*action.hash(), 61))).await, &[Code::NotFound])
    });
    suite.case("result/symlinks", "symbolic links are given back", |target| async move {
        let action = Digest::of(&target.unique(60));
        let link = OutputSymlink { path: "l".into(), target: "t".into(), ..Default::default() };
        let result = ActionResult { output_symlinks: vec![link], ..Default::default() };
        put(&target, action, &result).await?;
        same("output_symlinks", &get(&target, of(action)).await?.output_symlinks, &result.output_symlinks)
    });
    add_incomplete(suite);
    add_inlined(suite);
}

fn add_incomplete(suite: &mut Suite) {
    suite.case("result/missing-output", "a result whose output is absent is a miss", |target| async move {
        let absent = Digest::of(&target.unique(100));
        is_a_miss(&target, &ActionResult { output_files: vec![file("o", absent)], ..Default::default() }).await
    });
    suite.case("result/one-of-many-missing", "one absent output of many is enough", |target| async move {
        let mut outputs = target.store(&(0..10).map(|_| target.unique(60)).collect::<Vec<_>>()).await?;
        outputs.insert(5, Digest::of(&target.unique(100)));
        let output_files = outputs.iter().enumerate().map(|(at, digest)| file(&format!("o{at}"), *digest)).collect();
        is_a_miss(&target, &ActionResult { output_files, ..Default::default() }).await
    });
    suite.case("result/missing-stdout", "a result whose standard output is absent is a miss", |target| async move {
        let absent = Some(Digest::of(&target.unique(100)).into());
        is_a_miss(&target, &ActionResult { stdout_digest: absent, ..Default::default() }).await
    });
    suite.case("result/missing-stderr", "a result whose standard error is absent is a miss", |target| async move {
        let absent = Some(Digest::of(&target.unique(100)).into());
        is_a_miss(&target, &ActionResult { stderr_digest: absent, ..Default::default() }).await
    });
    suite.case("result/missing-tree", "a result whose Tree is absent is a miss", |target| async move {
        let tree_digest = Some(Digest::of(&target.unique(100)).into());
        let directory = OutputDirectory { path: "d".into(), tree_digest, ..Default::default() };
        is_a_miss(&target, &ActionResult { output_directories: vec![directory], ..Default::default() }).await
    });
    for level in ["root", "child"] {
        let fact = "a result whose Tree names an absent file is a miss";
        suite.case(format!("result/missing-in-{level}"), fact, move |target| async move {
            let (stored, absent) = (target.store(&[target.unique(60)]).await?[0], Digest::of(&target.unique(60)));
            let with = |digest: Digest| Directory {
                files: vec![FileNode { name: "f".into(), digest: Some(digest.into()), ..Default::default() }],
                ..Default::default()
            };
            let (root, child) = if level == "root" { (absent, stored) } else { (stored, absent) };
            let tree = Tree { root: Some(with(root)), children: vec![with(child)] };
            let tree_digest = Some(target.store_message(&tree).await?.into());
            let directory = OutputDirectory { path: "d".into(), tree_digest, ..Default::default() };
            is_a_miss(&target, &ActionResult { output_directories: vec![directory], ..Default::default() }).await
        });
    }
    suite.case("result/tree", "a result whose Tree is complete is given", |target| async move {
        let stored = target.store(&[target.unique(60)]).await?[0];
        let node = FileNode { name: "f".into(), digest: Some(stored.into()), ..Default::default() };
        let tree = Tree { root: Some(Directory { files: vec![node], ..Default::default() }), children: Vec::new() };
        let tree_digest = Some(target.store_message(&tree).await?.into());
        let directory = OutputDirectory { path: "d".into(), tree_digest, ..Default::default() };
        let result = ActionResult { output_directories: vec![directory], ..Default::default() };
        let action = Digest::of(&target.unique(60));
        put(&target, action, &result).await?;
        same("output_directories", &get(&target, of(action)).await?.output_directories, &result.output_directories)
    });
    suite.case("result/empty-output", "the empty blob is never absent", |target| async move {
        let action = Digest::of(&target.unique(60));
        let result = ActionResult { output_files: vec![file("o", Digest::EMPTY)], ..Default::default() };
        put(&target, action, &result).await?;
        get(&target, of(action)).await.map(drop).map_err(Outcome::from)
    });
}

fn add_inlined(suite: &mut Suite) {
    for stream in ["stdout", "stderr"] {
        suite.case(
            format!("result/inline-{stream}"),
            "what is asked for inline keeps its digest",
            move |target| async move {
                let said = target.unique(100);
                let digest = Some(target.store(std::slice::from_ref(&said)).await?[0].into());
                let action = Digest::of(&target.unique(60));
                let mut result = ActionResult::default();
                if stream == "stdout" {
                    result.stdout_digest = digest;
                } else {
                    result.stderr_digest = digest;
                }
                put(&target, action, &result).await?;
                let given =
                    get(&target, GetActionResultRequest { inline_stdout: true, inline_stderr: true, ..of(action) })
                        .await?;
                let (raw, kept) = if stream == "stdout" {
                    (given.stdout_raw, given.stdout_digest)
                } else {
                    (given.stderr_raw, given.stderr_digest)
                };
                check(raw == said || raw.is_empty(), || "other bytes inline".to_owned())?;
                check(kept.is_some() || !raw.is_empty(), || "neither digest nor bytes".to_owned())
            },
        );
    }
    suite.case("result/inline-files", "files that are asked for inline keep their digests", |target| async move {
        let content = target.unique(100);
        let digest = target.store(std::slice::from_ref(&content)).await?[0];
        let action = Digest::of(&target.unique(60));
        let result = ActionResult { output_files: vec![file("d", digest), file("o", digest)], ..Default::default() };
        put(&target, action, &result).await?;
        let given =
            get(&target, GetActionResultRequest { inline_output_files: vec!["d".into()], ..of(action) }).await?;
        for output in &given.output_files {
            same("digest", &output.digest, &Some(digest.into()))?;
            check(output.contents.is_empty() || output.contents == content, || "other bytes inline".to_owned())?;
        }
        Ok(())
    });
    suite.case("result/inline-limit", "what is inlined fits into a message", |target| async move {
        let blobs: Vec<Bytes> = (0..6).map(|_| target.unique(1_000_000)).collect();
        let mut output_files = Vec::new();
        for (at, blob) in blobs.iter().enumerate() {
            output_files.push(file(&format!("o{at}"), target.store(std::slice::from_ref(blob)).await?[0]));
        }
        let action = Digest::of(&target.unique(60));
        let inline_output_files = output_files.iter().map(|output| output.path.clone()).collect();
        put(&target, action, &ActionResult { output_files, ..Default::default() }).await?;
        let given = get(&target, GetActionResultRequest { inline_output_files, ..of(action) }).await?;
        check(given.encoded_len() < 4 << 20, || format!("{} bytes", given.encoded_len()))
    });
    suite.case("result/failed", "the result of an action that failed is no hit for others", |target| async move {
        let action = Digest::of(&target.unique(60));
        match put(&target, action, &ActionResult { exit_code: 1, ..Default::default() }).await {
            Err(Outcome::Wrong(why)) => check(why.starts_with("InvalidArgument"), || why.clone()),
            Err(outcome) => Err(outcome),
            // Some servers keep it: then it has to say what it is.
            Ok(()) => match get(&target, of(action)).await {
                Ok(given) => same("exit_code", &given.exit_code, &1),
                Err(status) => fails::<()>(Err(status), &[Code::NotFound]),
            },
        }
    });
}
