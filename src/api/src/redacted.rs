//! Debug for messages that carry secrets: names the message, shows no bytes.

use crate::pb::{log, v1};
use std::fmt;

macro_rules! redacted {
    ($($message:ty => $name:literal),+ $(,)?) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($name, " { .. }"))
            }
        }
    )+};
}

redacted! {
    v1::BeatKey => "BeatKey",
    v1::CreateJoinTokenResponse => "CreateJoinTokenResponse",
    v1::JoinRequest => "JoinRequest",
    v1::ShareCaKeyResponse => "ShareCaKeyResponse",
    log::HeartbeatKey => "HeartbeatKey",
}
