//! How many files, directories, links and properties a message lists.
//!
//! An entry that says nothing takes two bytes of a message, and a hundred times as much once it is decoded. So what comes from
//! elsewhere is counted, and refused beyond [`ENTRIES_PER_MESSAGE`](crate::limits::ENTRIES_PER_MESSAGE); what comes as bytes, before it is decoded.
//!
//! **Source:** Protocol Buffers, "Encoding"; Remote Execution API v2, messages `ActionResult`, `Directory`, `Tree`.

use crate::limits::ENTRIES_PER_MESSAGE;
use crate::reapi::{ActionResult, NodeProperties, OutputSymlink};

/// A message lists more than [`ENTRIES_PER_MESSAGE`] entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} entries are more than the {ENTRIES_PER_MESSAGE} that a message may list")]
pub struct TooManyEntries(pub usize);

/// Which fields of a message are messages that may be repeated, or hold such.
struct Shape(&'static [(u64, &'static Shape)]);

const LEAF: Shape = Shape(&[]);
const PROPERTIES: Shape = Shape(&[(1, &LEAF)]);
const FILE: Shape = Shape(&[(6, &PROPERTIES)]);
const SYMLINK: Shape = Shape(&[(4, &PROPERTIES)]);
const DIRECTORY: Shape = Shape(&[(1, &FILE), (2, &LEAF), (3, &SYMLINK), (5, &PROPERTIES)]);
const TREE: Shape = Shape(&[(1, &DIRECTORY), (2, &DIRECTORY)]);
const OUTPUT_FILE: Shape = Shape(&[(7, &PROPERTIES)]);
const METADATA: Shape = Shape(&[(11, &LEAF)]);
const RESULT: Shape =
    Shape(&[(2, &OUTPUT_FILE), (3, &LEAF), (9, &METADATA), (10, &SYMLINK), (11, &SYMLINK), (12, &SYMLINK)]);

/// Checks an encoded `Directory`.
///
/// # Errors
/// It lists too many entries.
pub fn check_directory(message: &[u8]) -> Result<(), TooManyEntries> {
    check(count(message, &DIRECTORY))
}

/// Checks an encoded `Tree`.
///
/// # Errors
/// It lists too many entries.
pub fn check_tree(message: &[u8]) -> Result<(), TooManyEntries> {
    check(count(message, &TREE))
}

/// Checks an encoded `ActionResult`.
///
/// # Errors
/// It lists too many entries.
pub fn check_encoded_result(message: &[u8]) -> Result<(), TooManyEntries> {
    check(count(message, &RESULT))
}

/// Checks a result that is decoded already.
///
/// # Errors
/// It lists too many entries.
pub fn check_result(result: &ActionResult) -> Result<(), TooManyEntries> {
    check(of_result(result))
}

/// How many entries a result lists.
pub fn of_result(result: &ActionResult) -> usize {
    let properties = |node: &Option<NodeProperties>| node.as_ref().map_or(0, |node| node.properties.len());
    let links = |links: &[OutputSymlink]| links.iter().map(|link| 1 + properties(&link.node_properties)).sum::<usize>();
    let files = result.output_files.iter().map(|file| 1 + properties(&file.node_properties)).sum::<usize>();
    let metadata = result.execution_metadata.as_ref().map_or(0, |metadata| metadata.auxiliary_metadata.len());
    #[expect(deprecated, reason = "older clients send nothing else")]
    let older = links(&result.output_file_symlinks) + links(&result.output_directory_symlinks);
    files + result.output_directories.len() + links(&result.output_symlinks) + older + metadata
}

fn check(entries: usize) -> Result<(), TooManyEntries> {
    if entries > ENTRIES_PER_MESSAGE { Err(TooManyEntries(entries)) } else { Ok(()) }
}

/// How many messages there are in one, by the fields of its shape. What isn't well formed ends the count, as it ends decoding.
fn count(mut message: &[u8], shape: &Shape) -> usize {
    let mut entries = 0;
    while let Some((field, content)) = next(&mut message) {
        if let Some((_, shape)) = shape.0.iter().find(|(known, _)| *known == field) {
            entries += 1 + count(content, shape);
        }
    }
    entries
}

/// The next field's number and bytes, none for what is no message.
fn next<'m>(message: &mut &'m [u8]) -> Option<(u64, &'m [u8])> {
    let tag = varint(message)?;
    let length = match tag & 7 {
        0 => {
            varint(message)?;
            0
        }
        1 => return Some((0, take(message, 8)?)),
        2 => varint(message)?,
        // What stands within a group is counted as if it stood outside.
        3 | 4 => 0,
        5 => return Some((0, take(message, 4)?)),
        _ => return None,
    };
    let content = take(message, length)?;
    Some((if tag & 7 == 2 { tag >> 3 } else { 0 }, content))
}

fn take<'m>(message: &mut &'m [u8], length: u64) -> Option<&'m [u8]> {
    let (content, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
    *message = rest;
    Some(content)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reapi::{
        self, Directory, DirectoryNode, ExecutedActionMetadata, FileNode, NodeProperty, OutputDirectory, OutputFile,
        SymlinkNode, Tree,
    };
    use prost::Message as _;

    fn properties(count: usize) -> NodeProperties {
        NodeProperties { properties: vec![NodeProperty::default(); count], ..NodeProperties::default() }
    }

    #[test]
    fn encoded_messages_have_as_many_entries_as_decoded_ones() {
        let digest = || Some(reapi::Digest::from(crate::digest::Digest::of(b"x")));
        #[expect(deprecated, reason = "older clients send nothing else")]
        let result = ActionResult {
            output_files: vec![
                OutputFile {
                    digest: digest(),
                    node_properties: Some(properties(3)),
                    ..OutputFile::default()
                };
                2
            ],
            output_symlinks: vec![OutputSymlink { node_properties: Some(properties(1)), ..OutputSymlink::default() }],
            output_file_symlinks: vec![OutputSymlink::default(); 5],
            output_directory_symlinks: vec![OutputSymlink::default()],
            output_directories: vec![OutputDirectory { tree_digest: digest(), ..OutputDirectory::default() }; 4],
            stdout_raw: vec![0x12; 100].into(),
            exit_code: 300,
            execution_metadata: Some(ExecutedActionMetadata {
                worker: "worker".to_owned(),
                auxiliary_metadata: vec![prost_types::Any::default(); 7],
                ..ExecutedActionMetadata::default()
            }),
            ..ActionResult::default()
        };
        assert_eq!(of_result(&result), 8 + 2 + 5 + 1 + 4 + 7);
        // What holds such is counted as well: the properties of three nodes, and the metadata.
        assert_eq!(count(&result.encode_to_vec(), &RESULT), of_result(&result) + 4);
        let directory = Directory {
            files: vec![FileNode { digest: digest(), node_properties: Some(properties(1)), ..FileNode::default() }; 2],
            directories: vec![DirectoryNode { digest: digest(), ..DirectoryNode::default() }; 3],
            symlinks: vec![SymlinkNode { target: "x".repeat(300), ..SymlinkNode::default() }; 4],
            node_properties: None,
        };
        assert_eq!(count(&directory.encode_to_vec(), &DIRECTORY), 13, "nodes have properties, and these one each");
        let tree = Tree { root: Some(directory.clone()), children: vec![directory] };
        assert_eq!(count(&tree.encode_to_vec(), &TREE), 28);
    }

    #[test]
    fn what_says_nothing_many_times_is_refused_before_it_is_decoded() {
        let empty_links = |count: usize| [0x62, 0].repeat(count);
        assert_eq!(check_encoded_result(&empty_links(ENTRIES_PER_MESSAGE)), Ok(()));
        assert!(check_encoded_result(&empty_links(ENTRIES_PER_MESSAGE + 1)).is_err());
        assert!(check_directory(&[0x0a, 0].repeat(ENTRIES_PER_MESSAGE + 1)).is_err());
        assert!(check_tree(&[0x12, 0].repeat(ENTRIES_PER_MESSAGE + 1)).is_err());
        // Behind a group, a number of any width, and before what is torn.
        let hidden =
            [&[0xa3, 1, 0xa4, 1, 0x20, 0x80, 1, 0x09, 0, 0, 0, 0, 0, 0, 0, 0][..], &empty_links(9), &[0x62, 9]]
                .concat();
        assert_eq!(count(&hidden, &RESULT), 9);
    }
}
