//! # Purpose
//! An error and its causes on one line.
//!
//! # Invariants kept here
//! - No `Display` of ours prints its source, so a chain names each step exactly once.
//!
//! # Not here
//! Deciding who prints: the place that handles the error.

use std::error::Error;
use std::fmt;

/// Displays `error`, then each source, separated by `: `.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

/// See [`chain`].
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat their source in their own text.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the token")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("no such file")]
    struct Inner;

    #[test]
    fn each_step_is_named_once() {
        assert_eq!(chain(&Outer(Inner)).to_string(), "cannot read the token: no such file");
    }
}
