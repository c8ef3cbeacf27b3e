//! What this node is to hybrid peers.

use super::NetworkKey;
use crate::{
    asymmetric::Identity,
    wire::hybrid::{ParametersBytes, SuiteSet},
};

/// Stands for no network key.
static NO_NETWORK_KEY: NetworkKey = NetworkKey::ZERO;

/// What this node is to hybrid peers.
#[derive(Debug)]
pub struct LocalNode {
    /// Our identity.
    pub identity: Identity,
    /// Network keys in force; the first is the one that we initiate with. Empty for none.
    pub network_keys: Vec<NetworkKey>,
    /// The suites that this node can use.
    pub suites: SuiteSet,
    /// What this node says of itself.
    pub parameters: ParametersBytes,
}

impl LocalNode {
    /// The network key that we initiate with, all zero for none.
    pub fn network_key(&self) -> &NetworkKey {
        self.network_keys.first().unwrap_or(&NO_NETWORK_KEY)
    }
}
