//! Fuzz targets of the paths and headers of plain HTTP.

use super::key::Key;
use super::precondition::Wanted;
use axum::http::{HeaderMap, HeaderValue, header};
use pumphouse_fuzz::{any, bounded, check, like, text_like};

#[test]
fn paths() {
    let hash = "ab".repeat(32);
    let examples =
        [format!("/cas/{hash}"), format!("/a/b/ac/{hash}"), "/ccache/01/23ab".to_owned(), "/a/b/".to_owned()];
    check(&text_like(&examples), |path| {
        let Ok(key) = bounded(path.len(), || Key::of(&path)) else { return };
        let (Key::Name(name) | Key::Collection(name)) = &key else { return };
        let leads_out = |segment: &str| matches!(segment, "." | "..");
        assert!(!name.starts_with('/') && !name.contains("//") && !name.split('/').any(leads_out), "{key:?}");
        assert!(key.instance_name().len() <= path.len());
    });
}

#[test]
fn ranges() {
    let examples =
        ["bytes=0-0", "bytes=2-", "bytes=-3", "bytes=5-4", "bytes=18446744073709551615-18446744073709551615"];
    check(&(like(&examples), any::<u64>()), |(text, size)| {
        let Ok(value) = HeaderValue::from_bytes(&text) else { return };
        let headers = HeaderMap::from_iter([(header::RANGE, value)]);
        if let Wanted::Part(range) = bounded(text.len(), || Wanted::by(&headers, "\"tag\"", size)) {
            assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        }
    });
}

#[test]
fn tags() {
    check(&like(&["\"a\", W/\"tag\"", "*", "\"tag\""]), |text| {
        let Ok(value) = HeaderValue::from_bytes(&text) else { return };
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]);
        let wanted = bounded(text.len(), || Wanted::by(&headers, "\"tag\"", 9));
        let names_it = text.windows(5).any(|part| part == b"\"tag\"") || text.contains(&b'*');
        assert!(names_it || wanted == Wanted::Whole, "{wanted:?}");
    });
}
