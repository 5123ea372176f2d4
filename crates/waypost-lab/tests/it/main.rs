//! The simulator against theory, itself and real traces.

mod queueing;
mod real_traces;
mod runs;
