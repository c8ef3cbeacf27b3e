//! Layer 1: message layouts.

pub mod ip;
