//! Fuzz targets of what launchers and daemons say to each other.

use super::*;
use pumphouse_fuzz::{any, bounded, check, like};

/// A frame's payload; its header says how long it is, and what.
fn payload(frame: &[u8]) -> Vec<u8> {
    frame[5..].to_vec()
}

fn compile() -> Vec<u8> {
    Request::Compile(CompileRequest {
        vantage: Vantage { mount: 1, device: 2, inode: 3 },
        working_directory: PathBuf::from("/w"),
        device: 4,
        inode: 5,
        umask: 0o22,
        group: None,
        terminal: Terminal::No,
        arguments: vec!["cc".into(), "-c".into()],
        environment: vec![("A".into(), "b".into())],
    })
    .encode()
}

#[test]
fn requests_of_any_bytes() {
    check(&(like(&[payload(&compile()), payload(&Request::Stop.encode())]), 0..6_u8), |(bytes, tag)| {
        let Ok((_, Some(request))) = bounded(bytes.len(), || Request::decode(tag, &bytes)) else { return };
        let again = Request::decode(tag, &payload(&request.encode())).expect("what we write");
        assert_eq!(again.1, Some(request));
    });
}

#[test]
fn answers_and_reports_of_any_bytes() {
    let completed = Completed { wait_status: 256, stdout: b"out".to_vec(), ..Completed::default() };
    let local = LocalRun {
        compiler: "/cc".into(),
        arguments: Some(vec!["cc".into()]),
        output: LocalOutput::Captured,
        notice: b"note".to_vec(),
    };
    let examples = [Answer::Done(completed).encode(), Answer::RunLocally(local).encode(), Report::Started(7).encode()];
    check(&(like(&examples.map(|frame| payload(&frame))), 0..7_u8), |(bytes, tag)| {
        if let Ok(answer) = bounded(bytes.len(), || Answer::decode(tag, &bytes)) {
            assert_eq!(Answer::decode(tag, &payload(&answer.encode())).expect("what we write"), answer);
        }
        if let Ok(report) = bounded(bytes.len(), || Report::decode(tag, &bytes)) {
            assert_eq!(Report::decode(tag, &payload(&report.encode())).expect("what we write"), report);
        }
    });
}

#[test]
fn headers_of_any_bytes() {
    check(&any::<[u8; 5]>(), |header| {
        assert!(
            decode_header(header).is_err() || decode_header(header).is_ok_and(|(length, _)| length < FRAME_SIZE_BYTES)
        );
    });
}
