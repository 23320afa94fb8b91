//! zstd, in pieces: frames are decoded as they come, however many there are, and never beyond what the digest says.

use crate::blobs::BlobWriter;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use tonic::Status;
use zstd::stream::raw::{DParameter, Decoder, Encoder, InBuffer, Operation as _, OutBuffer};

/// How much is decoded or encoded at a time.
const PIECE_SIZE_BYTES: usize = 256 * 1024;

/// How many decoded pieces are in memory at a time for one upload.
const PIECES_AT_ONCE: usize = 8;

/// Frames that need more memory than 2^this to decode are refused.
const WINDOW_LOG: u32 = 26;

/// The level of what is sent: about as fast as a fast network.
const LEVEL: i32 = 1;

/// Decodes a stream of frames.
pub(super) struct Decompressor {
    decoder: Decoder<'static>,
    digest: Digest,
    decoded_bytes: u64,
    /// Between two frames, or before the first.
    is_at_boundary: bool,
    /// The last piece was full, so the decoder may hold more.
    may_have_more: bool,
}

impl Decompressor {
    /// For a blob whose decoded content is `digest`.
    pub(super) fn new(digest: Digest) -> Result<Self, Status> {
        let mut decoder = Decoder::new().map_err(|error| broken(&error))?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|error| broken(&error))?;
        Ok(Self { decoder, digest, decoded_bytes: 0, is_at_boundary: true, may_have_more: false })
    }

    /// Decodes from `input`, a piece of the compressed stream of any size, until there is a piece for whoever takes it.
    /// `None` once all of `input` is decoded.
    fn next(&mut self, input: &mut InBuffer<'_>) -> Result<Option<Bytes>, Status> {
        let mut buffer = Vec::new();
        let capacity = PIECE_SIZE_BYTES.min(self.room() as usize);
        loop {
            let is_done = input.pos() == input.src.len();
            if is_done && (self.is_at_boundary || !self.may_have_more) {
                return Ok(None);
            }
            buffer.resize(capacity, 0);
            let mut output = OutBuffer::around(&mut buffer[..]);
            let hint = self.decoder.run(input, &mut output).map_err(|error| self.malformed(&error))?;
            let written = output.pos();
            self.is_at_boundary = hint == 0;
            self.may_have_more = written == capacity;
            self.decoded_bytes += written as u64;
            if self.decoded_bytes > self.digest.size_bytes() {
                let message = format!("blob {}: the compressed data is longer than its digest says", self.digest);
                return Err(Status::invalid_argument(message));
            }
            if written > 0 {
                buffer.truncate(written);
                return Ok(Some(Bytes::from(buffer)));
            }
        }
    }

    /// Decodes a piece of the compressed stream, off the runtime's threads where that may take long, and gives what comes of
    /// it to `writer`, a bounded number of pieces at a time.
    pub(super) async fn decode_into(mut self, data: Bytes, writer: &mut dyn BlobWriter) -> Result<Self, Status> {
        let mut position = 0;
        loop {
            let step = move |mut decompressor: Self, data: &[u8]| -> Result<_, Status> {
                let mut input = InBuffer::around(data);
                input.set_pos(position);
                let mut pieces = Vec::new();
                while pieces.len() < PIECES_AT_ONCE {
                    let Some(piece) = decompressor.next(&mut input)? else { return Ok((decompressor, pieces, None)) };
                    pieces.push(piece);
                }
                Ok((decompressor, pieces, Some(input.pos())))
            };
            let (decompressor, pieces, rest) = if self.room() <= PIECE_SIZE_BYTES as u64 {
                step(self, &data)?
            } else {
                let data = data.clone();
                let stepped = tokio::task::spawn_blocking(move || step(self, &data));
                stepped.await.map_err(|error| Status::internal(error.to_string()))??
            };
            self = decompressor;
            for piece in pieces {
                writer.write(piece).await?;
            }
            match rest {
                Some(rest) => position = rest,
                None => return Ok(self),
            }
        }
    }

    /// The stream has ended: it must not end within a frame.
    pub(super) fn finish(self) -> Result<(), Status> {
        if self.is_at_boundary {
            return Ok(());
        }
        Err(Status::invalid_argument(format!("blob {}: the compressed data ends within a frame", self.digest)))
    }

    /// One byte more than may come, so that too much is noticed.
    fn room(&self) -> u64 {
        self.digest.size_bytes() - self.decoded_bytes + 1
    }

    fn malformed(&self, error: &std::io::Error) -> Status {
        Status::invalid_argument(format!("blob {}: the data is not valid zstd: {error}", self.digest))
    }
}

/// Decodes a whole compressed blob.
pub(super) fn decompress(digest: Digest, data: &[u8]) -> Result<Bytes, Status> {
    let mut decompressor = Decompressor::new(digest)?;
    let mut pieces = Vec::new();
    let mut input = InBuffer::around(data);
    while let Some(piece) = decompressor.next(&mut input)? {
        pieces.push(piece);
    }
    decompressor.finish()?;
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    Ok(Bytes::from(pieces.concat()))
}

/// Encodes a stream as one frame.
pub(super) struct Compressor {
    encoder: Encoder<'static>,
}

impl Compressor {
    /// At the beginning of the frame.
    pub(super) fn new() -> Result<Self, Status> {
        Ok(Self { encoder: Encoder::new(LEVEL).map_err(|error| broken(&error))? })
    }

    /// Encodes a piece; what comes of it may be nothing yet.
    pub(super) fn encode(&mut self, piece: &[u8]) -> Result<Bytes, Status> {
        let mut input = InBuffer::around(piece);
        let mut encoded = Vec::with_capacity(PIECE_SIZE_BYTES);
        while input.pos() < piece.len() {
            encoded.reserve(PIECE_SIZE_BYTES / 4);
            let end = encoded.len();
            let mut output = OutBuffer::around_pos(&mut encoded, end);
            self.encoder.run(&mut input, &mut output).map_err(|error| broken(&error))?;
        }
        Ok(Bytes::from(encoded))
    }

    /// Ends the frame.
    pub(super) fn finish(mut self) -> Result<Bytes, Status> {
        let mut encoded = Vec::new();
        loop {
            encoded.reserve(PIECE_SIZE_BYTES);
            let end = encoded.len();
            let mut output = OutBuffer::around_pos(&mut encoded, end);
            let rest = self.encoder.finish(&mut output, true).map_err(|error| broken(&error))?;
            if rest == 0 {
                return Ok(Bytes::from(encoded));
            }
        }
    }
}

/// Encodes a whole blob.
pub(super) fn compress(blob: &[u8]) -> Result<Bytes, Status> {
    zstd::bulk::compress(blob, LEVEL).map(Bytes::from).map_err(|error| broken(&error))
}

fn broken(error: &std::io::Error) -> Status {
    Status::internal(format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Vec<u8> {
        (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
    }

    fn decode_in_pieces(digest: Digest, data: &[u8], piece: usize) -> Result<Vec<u8>, Status> {
        let mut decompressor = Decompressor::new(digest)?;
        let mut decoded = Vec::new();
        for piece in data.chunks(piece) {
            let mut input = InBuffer::around(piece);
            while let Some(piece) = decompressor.next(&mut input)? {
                assert!(piece.len() <= PIECE_SIZE_BYTES);
                decoded.extend(piece);
            }
        }
        decompressor.finish()?;
        Ok(decoded)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let content = content();
        for size in [0, 1, 100, 256 * 1024, 3_000_000] {
            let content = &content[..size];
            let mut compressor = Compressor::new().expect("an encoder");
            let mut encoded = Vec::new();
            for piece in content.chunks(70_000) {
                encoded.extend(compressor.encode(piece).expect("encodes"));
            }
            encoded.extend(compressor.finish().expect("ends"));
            for piece in [1_000, 65_536, 10_000_000] {
                assert!(decode_in_pieces(Digest::of(content), &encoded, piece).expect("decodes") == content);
            }
            assert!(decompress(Digest::of(content), &compress(content).expect("encodes")).expect("decodes") == content);
        }
    }

    #[test]
    fn several_frames_are_one_stream() {
        let content = content();
        let mut encoded = Vec::new();
        for piece in content.chunks(1_000_000) {
            encoded.extend(zstd::encode_all(piece, 3).expect("encodes"));
            encoded.extend(zstd::encode_all(&b""[..], 3).expect("encodes"));
        }
        for piece in [1_000, 100_000, usize::MAX] {
            assert!(decode_in_pieces(Digest::of(&content), &encoded, piece).expect("decodes") == content);
        }
    }

    #[test]
    fn bombs_and_stumps_are_refused() {
        let zeros = zstd::encode_all(&vec![0; 10_000_000][..], 3).expect("encodes");
        let claimed = Digest::of(&[0; 1000]);
        let error = decode_in_pieces(claimed, &zeros, usize::MAX).expect_err("too long");
        assert!(error.message().contains("longer than its digest says"), "{error}");
        let content = content();
        let encoded = zstd::encode_all(&content[..], 3).expect("encodes");
        let error = decode_in_pieces(Digest::of(&content), &encoded[..encoded.len() / 2], 4096).expect_err("too short");
        assert!(error.message().contains("ends within a frame"), "{error}");
        let error = decode_in_pieces(Digest::of(&content), b"rubbish", 4096).expect_err("no zstd");
        assert!(error.message().contains("not valid zstd"), "{error}");
    }
}
