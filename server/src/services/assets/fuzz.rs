//! Fuzz targets of what clients say about content at other places.

use super::checksum::Checksum;
use super::origins::Origins;
use pumphouse_fuzz::{bounded, check, text_like};

#[test]
fn checksums() {
    let sum = format!("sha256-{}=", "A".repeat(43));
    let both = format!("sha512-{}== {sum}?options", "B".repeat(86));
    check(&text_like(&[sum, both]), |text| {
        let Ok(checksum) = bounded(text.len(), || Checksum::parse(&text)) else { return };
        assert!(text.contains("sha256-") || checksum.sha256().is_none());
        assert!(!checksum.is_met_by(checksum.begin()), "nothing has been summed up, and no text here is of nothing");
    });
}

#[test]
fn addresses_lead_nowhere_else() {
    let origins = Origins::new(&["https://example.org/a/".to_owned(), "http://127.0.0.1:81/".to_owned()]);
    let origins = origins.expect("good");
    let examples = ["https://example.org/a/b?c=d#e", "https://example.org/a/../b", "http://127.0.0.1:81/x/%2e%2e/y"];
    check(&text_like(&examples), |uri| {
        if bounded(uri.len(), || origins.allow(&uri)) {
            let folded = uri.to_ascii_lowercase();
            let is_there = ["https://example.org/a/", "https://example.org:443/a/", "http://127.0.0.1:81"];
            assert!(is_there.iter().any(|place| folded.starts_with(place)), "{uri}");
            let path = folded.split(['?', '#']).next().unwrap_or_default();
            assert!(!path.contains("/../") && !path.contains('@') && !path.ends_with("/.."), "{uri}");
        }
    });
}
