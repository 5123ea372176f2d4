//! What limits promise, from outside.

#![cfg(not(loom))]

mod allocations;
mod crowd;
mod fair;
mod learned;
mod months;
mod promise_5;
mod promise_6;
mod rig;
mod scopes;
mod subjects;
mod updates;
