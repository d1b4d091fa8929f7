// SPDX-License-Identifier: Apache-2.0
//! Continue tokens: where the next page of a list starts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Error;
use crate::resource::{Key, Resource};
use crate::storage::Revision;

/// The format's number, the first byte of every token.
const FORMAT: u8 = 1;
/// The longest token: a name, a namespace and the rest, in base64.
const MAX_TOKEN: usize = 512;

/// Where the next page of a list starts.
///
/// It is bound to the namespace and selectors of the list by their fingerprint, and carries a
/// checksum. There is nothing to be won by forging one: it can only say what a list may ask anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The snapshot that all pages are of.
    pub(super) revision: Revision,
    /// The namespace and selectors of the list.
    pub(super) fingerprint: u32,
    /// The last object of the page before.
    pub(super) after: Key,
}

impl Token {
    pub(super) fn encode(&self) -> String {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.revision.0.to_be_bytes());
        bytes.extend(self.fingerprint.to_be_bytes());
        bytes.extend(self.after.namespace().as_bytes());
        bytes.push(b'/');
        bytes.extend(self.after.name().as_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// [`Error::BadRequest`] for anything that [`Self::encode`] did not make.
    pub(super) fn decode<R: Resource>(text: &str) -> Result<Self, Error> {
        Self::parse::<R>(text)
            .ok_or_else(|| Error::bad_request("continue", "the token is not one that the server returned: list again"))
    }

    fn parse<R: Resource>(text: &str) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (format, body) = body.split_first()?;
        let (revision, body) = body.split_first_chunk::<8>()?;
        let (fingerprint, body) = body.split_first_chunk::<4>()?;
        let (namespace, name) = std::str::from_utf8(body).ok()?.split_once('/')?;
        let after = Key::of::<R>(namespace, name).ok()?;
        (*format == FORMAT).then_some(Self {
            revision: Revision(u64::from_be_bytes(*revision)),
            fingerprint: u32::from_be_bytes(*fingerprint),
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Gpu;

    #[test]
    fn a_token_survives_and_every_changed_byte_is_noticed() {
        let after = Key::of::<Gpu>(&"n".repeat(63), &"g".repeat(253)).unwrap();
        let token = Token { revision: Revision(u64::MAX), fingerprint: 7, after };
        let text = token.encode();
        assert!(text.len() <= MAX_TOKEN);
        assert_eq!(Token::decode::<Gpu>(&text).unwrap(), token);
        for index in 0..text.len() {
            for other in [b'A', b'b', b'_', b'='] {
                let mut bytes = text.clone().into_bytes();
                if bytes[index] == other {
                    continue;
                }
                bytes[index] = other;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(Token::decode::<Gpu>(&changed).is_err(), "byte {index} as {other}");
            }
        }
        assert!(Token::decode::<Gpu>(&text[1..]).is_err());
        assert!(Token::decode::<Gpu>(&"A".repeat(1 << 20)).is_err());
    }
}
