//! The answer of the device authorization endpoint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a device shows, and with what it polls (RFC 8628 section 3.2).
#[derive(Deserialize, Serialize)]
pub struct DeviceAuthorization {
    /// With what the device polls.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it, for a link or a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Seconds that both codes live.
    pub expires_in: u64,
    /// Seconds between two polls; 5 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
}

impl fmt::Debug for DeviceAuthorization {
    /// Without the codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
