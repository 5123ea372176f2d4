//! The crate from outside: the corpus of errors, and requests seen through without a router.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod corpus;
mod hostile;
mod recorded;
