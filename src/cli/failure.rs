//! What a command says that has failed.

/// An error and its causes on one line. A cause that an error quotes itself is not said again.
pub(super) fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.trim();
        if words.is_empty() {
            words.push_str(cause);
        } else if !words.ends_with(cause) {
            words.push_str(": ");
            words.push_str(cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn nothing_is_said_twice() {
        let source = || std::io::Error::other("no room");
        let quoting = anyhow::Error::new(source()).context("cannot write /a: no room");
        assert_eq!(words(&quoting), "cannot write /a: no room");
        let plain: anyhow::Result<()> = Err(source()).context("/a").context("starting\n");
        assert_eq!(words(&plain.expect_err("failed")), "starting: /a: no room");
    }
}
