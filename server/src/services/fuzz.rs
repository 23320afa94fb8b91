//! Fuzz targets of what requests hold besides messages: names, tokens of pages, compressed bytes.

use super::compression::{Decompressor, compress, decompress};
use super::operation_name::{OperationName, parse_collection};
use super::request::build_id;
use super::run_seal::{RunKey, SealedRun};
use crate::blobs::{BlobWriter, StoreError};
use crate::scheduler::{ActionKey, OperationId};
use bytes::Bytes;
use pumphouse_fuzz::{any, bounded, check, like, text_like, vec};
use pumphouse_proto::cas_client::REQUEST_METADATA_HEADER;
use pumphouse_proto::digest::Digest;
use tonic::Extensions;
use tonic::metadata::{MetadataMap, MetadataValue};

fn operation() -> OperationName {
    let action = ActionKey { instance_name: "a/operations/b".into(), digest: Digest::of(b"action") };
    OperationName { action, id: OperationId(0xabc) }
}

#[test]
fn names_of_operations() {
    let good = operation().to_string();
    check(&text_like(&[&good, "operations", "a/b/operations"]), |name| {
        if let Ok(operation) = bounded(name.len(), || OperationName::parse(&name)) {
            assert_eq!(operation.to_string(), name, "an operation has one name");
        }
        if let Ok(instance) = parse_collection(&name) {
            assert!(name.starts_with(instance));
        }
    });
}

#[test]
fn seals_hold_for_what_they_were_made_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = RunKey::open(dir.path()).expect("made");
    let action = operation().action;
    let given = SealedRun { run: "run-1", worker: "w", action: &action, do_not_cache: false };
    let good = key.seal(&given);
    check(&text_like(&[&good]), |run| {
        let told = SealedRun { run: &run, ..given };
        let opened = bounded(run.len(), || key.open_seal(&told));
        // Hexadecimal digits may be written large.
        assert_eq!(opened.is_some(), run.eq_ignore_ascii_case(&good) && run.starts_with("run-1."), "{opened:?}");
    });
}

/// Notes what it is given.
#[derive(Default)]
struct Notes(Vec<u8>);

#[async_trait::async_trait]
impl BlobWriter for Notes {
    async fn write(&mut self, data: Bytes) -> Result<(), StoreError> {
        self.0.extend_from_slice(&data);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Digest, StoreError> {
        Ok(Digest::of(&self.0))
    }
}

/// Decodes a stream that comes in pieces, as an upload does.
async fn decode_in_pieces(digest: Digest, data: &[u8], piece: usize) -> Option<Vec<u8>> {
    let (mut decompressor, mut decoded) = (Decompressor::new(digest).expect("a decoder"), Notes::default());
    for piece in data.chunks(piece) {
        decompressor = decompressor.decode_into(Bytes::copy_from_slice(piece), &mut decoded).await.ok()?;
    }
    decompressor.finish().ok()?;
    Some(decoded.0)
}

#[test]
fn compressed_blobs() {
    let content = b"content that repeats itself, content that repeats itself".repeat(20);
    let frames = [
        compress(&content).expect("encodes").to_vec(),
        [compress(&content[..500]).expect("encodes"), compress(&content[500..]).expect("encodes")].concat(),
        zstd::encode_all(&vec![0; 1 << 20][..], 19).expect("encodes"),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    check(&(like(&frames), 1..300_usize, 0..3000_u64), |(data, piece, size)| {
        let claimed = Digest::new(*Digest::of(&content).hash(), size);
        let whole = bounded(data.len(), || decompress(claimed, &data)).ok();
        assert!(whole.as_ref().is_none_or(|whole| whole.len() as u64 <= size), "beyond what the digest says");
        let pieces = runtime.block_on(decode_in_pieces(claimed, &data, piece));
        assert_eq!(pieces.as_deref(), whole.as_deref(), "in pieces of {piece}");
    });
}

#[test]
fn what_is_compressed_comes_back() {
    check(&vec(any::<u8>(), 0..5000), |content| {
        let encoded = compress(&content).expect("encodes");
        assert_eq!(decompress(Digest::of(&content), &encoded).expect("decodes"), content);
    });
}

#[test]
fn metadata_of_requests() {
    check(&like(&[&b"\x12\x03abc"[..], b"\x0a\x04\x0a\x02ab\x12\x01c"]), |bytes| {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(REQUEST_METADATA_HEADER, MetadataValue::from_bytes(&bytes));
        bounded(bytes.len(), || build_id(&metadata, &Extensions::default()));
    });
}
