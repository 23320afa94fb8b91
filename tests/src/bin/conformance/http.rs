//! Caches by plain HTTP on the port of gRPC: Bazel's protocol.

use super::suite::{Outcome, Suite, check, same};
use super::target::Target;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, OutputFile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

async fn ask(target: &Target, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer, Outcome> {
    if target.address.is_encrypted {
        return Err(Outcome::Absent("the port is encrypted, which these cases don't speak".to_owned()));
    }
    let wrong = |error: std::io::Error| Outcome::Wrong(error.to_string());
    let mut stream = TcpStream::connect(&target.address.authority).await.map_err(wrong)?;
    let length = if method == "PUT" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    let head = format!(
        "{method} /{}{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}{length}\r\n",
        target.prefix()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.map_err(wrong)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(wrong)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| Outcome::Wrong("there is no answer".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Outcome::Wrong(format!("no status in {head}")))?;
    Ok(Answer { status, head, body: answer[end + 4..].to_vec() })
}

fn is_good(answer: &Answer) -> Result<(), Outcome> {
    check((200..300).contains(&answer.status), || {
        format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))
    })
}

pub(super) fn add(suite: &mut Suite) {
    suite.case("http/absent", "an absent blob is 404", |target| async move {
        let path = format!("cas/{}", Digest::of(&target.unique(60)).hash_hex());
        same("status", &ask(&target, "GET", &path, "", b"").await?.status, &404)
    });
    for size in [1, 1000, 3_000_000] {
        suite.case(format!("http/roundtrip-{size}"), "a blob that is put is got", move |target| async move {
            let blob = target.unique(size);
            let path = format!("cas/{}", Digest::of(&blob).hash_hex());
            is_good(&ask(&target, "PUT", &path, "", &blob).await?)?;
            let answer = ask(&target, "GET", &path, "", b"").await?;
            is_good(&answer)?;
            check(answer.body == blob, || "other bytes".to_owned())
        });
    }
    suite.case("http/put-twice", "a blob that is there may be put again", |target| async move {
        let blob = target.unique(1000);
        let path = format!("cas/{}", Digest::of(&blob).hash_hex());
        for _ in 0..2 {
            is_good(&ask(&target, "PUT", &path, "", &blob).await?)?;
        }
        Ok(())
    });
    suite.case("http/by-grpc", "what came by gRPC is got", |target| async move {
        let blob = target.unique(1000);
        let digest = target.store(std::slice::from_ref(&blob)).await?[0];
        let answer = ask(&target, "GET", &format!("cas/{}", digest.hash_hex()), "", b"").await?;
        check(answer.status == 200 && answer.body == blob, || format!("status {}", answer.status))
    });
    suite.case("http/for-grpc", "what came by HTTP is there for gRPC", |target| async move {
        let blob = target.unique(1000);
        is_good(&ask(&target, "PUT", &format!("cas/{}", Digest::of(&blob).hash_hex()), "", &blob).await?)?;
        same("missing", &target.missing(&[Digest::of(&blob)]).await?, &Vec::new())
    });
    suite.case("http/head", "HEAD says how long it is, and sends nothing", |target| async move {
        let blob = target.unique(1000);
        let path = format!("cas/{}", target.store(&[blob]).await?[0].hash_hex());
        let answer = ask(&target, "HEAD", &path, "", b"").await?;
        check(answer.status == 200 && answer.body.is_empty(), || format!("status {}", answer.status))?;
        check(answer.head.contains("content-length: 1000"), || answer.head.clone())
    });
    suite.case("http/head-absent", "HEAD of an absent blob is 404", |target| async move {
        let path = format!("cas/{}", Digest::of(&target.unique(60)).hash_hex());
        same("status", &ask(&target, "HEAD", &path, "", b"").await?.status, &404)
    });
    suite.case("http/mismatch", "what is not what the path names is refused, and not stored", |target| async move {
        let digest = Digest::of(&target.unique(1000));
        let path = format!("cas/{}", digest.hash_hex());
        let answer = ask(&target, "PUT", &path, "", &target.unique(1000)).await?;
        check((400..500).contains(&answer.status), || format!("status {}", answer.status))?;
        same("status", &ask(&target, "GET", &path, "", b"").await?.status, &404)
    });
    suite.case("http/bad-hash", "a path without a hash is refused", |target| async move {
        let answer = ask(&target, "PUT", "cas/xyz", "", b"x").await?;
        check((400..500).contains(&answer.status), || format!("status {}", answer.status))
    });
    suite.case("http/range", "a part may be asked for", |target| async move {
        let blob = target.unique(1000);
        let path = format!("cas/{}", target.store(std::slice::from_ref(&blob)).await?[0].hash_hex());
        let answer = ask(&target, "GET", &path, "range: bytes=10-19\r\n", b"").await?;
        match answer.status {
            206 => check(answer.body == blob[10..20], || "other bytes".to_owned()),
            200 => Err(Outcome::Absent("parts aren't sent".to_owned())),
            status => Err(Outcome::Wrong(format!("status {status}"))),
        }
    });
    suite.case("http/result", "a result that is put is got, while its outputs are there", |target| async move {
        let output = target.store(&[target.unique(100)]).await?[0];
        let file = OutputFile { path: "o".into(), digest: Some(output.into()), ..Default::default() };
        let result = ActionResult { output_files: vec![file], ..Default::default() };
        let path = format!("ac/{}", Digest::of(&target.unique(60)).hash_hex());
        is_good(&ask(&target, "PUT", &path, "", &result.encode_to_vec()).await?)?;
        let answer = ask(&target, "GET", &path, "", b"").await?;
        is_good(&answer)?;
        let given = ActionResult::decode(&answer.body[..]).map_err(|error| Outcome::Wrong(error.to_string()))?;
        same("output_files", &given.output_files, &result.output_files)
    });
    suite.case("http/incomplete-result", "a result whose outputs are absent is 404", |target| async move {
        let file = OutputFile { digest: Some(Digest::of(&target.unique(100)).into()), ..Default::default() };
        let result = ActionResult { output_files: vec![file], ..Default::default() };
        let path = format!("ac/{}", Digest::of(&target.unique(60)).hash_hex());
        let put = ask(&target, "PUT", &path, "", &result.encode_to_vec()).await?;
        check(put.status < 500, || format!("status {}", put.status))?;
        same("status", &ask(&target, "GET", &path, "", b"").await?.status, &404)
    });
    suite.case("http/absent-result", "an absent result is 404", |target| async move {
        let path = format!("ac/{}", Digest::of(&target.unique(60)).hash_hex());
        same("status", &ask(&target, "GET", &path, "", b"").await?.status, &404)
    });
    suite.case("http/method", "what isn't possible is 405, or not implemented", |target| async move {
        let status = ask(&target, "PATCH", "cas/x", "", b"").await?.status;
        check([400, 404, 405, 501].contains(&status), || format!("status {status}"))
    });
}
