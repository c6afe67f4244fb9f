//! MACs and their spellings.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

/// Bytes of the longest MAC.
const MAC_BYTES_MAX: usize = 64;

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1: weak as a hash, still sound under an HMAC; only for services that have nothing better.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Their names in the configuration.
    pub const NAMES: [&str; 3] = ["sha256", "sha1", "sha512"];

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Bytes of its MAC.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The MAC of the parts, one behind the other.
    pub(super) fn mac(self, key: &[u8], parts: &[&[u8]]) -> Mac {
        macro_rules! of {
            ($hash:ty) => {{
                let mut mac = Hmac::<$hash>::new_from_slice(key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|part| mac.update(part));
                Mac::of(&mac.finalize().into_bytes())
            }};
        }
        match self {
            Self::Sha1 => of!(Sha1),
            Self::Sha256 => of!(Sha256),
            Self::Sha512 => of!(Sha512),
        }
    }
}

/// A MAC, ours or claimed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mac {
    bytes: [u8; MAC_BYTES_MAX],
    length: usize,
}

impl Mac {
    /// At most [`MAC_BYTES_MAX`] bytes.
    fn of(bytes: &[u8]) -> Self {
        let mut mac = Self { bytes: [0; MAC_BYTES_MAX], length: bytes.len().min(MAC_BYTES_MAX) };
        mac.bytes[..mac.length].copy_from_slice(&bytes[..mac.length]);
        mac
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether it is one of those claimed. All of them are compared, whichever fits.
    pub(super) fn is_one_of(&self, claimed: &[Self]) -> bool {
        let any = claimed.iter().fold(Choice::from(0), |found, other| found | self.bytes().ct_eq(other.bytes()));
        any.into()
    }
}

/// How a MAC is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits, in either case.
    Hex,
    /// The standard alphabet, padding or none.
    Base64,
    /// The alphabet for URLs, padding or none.
    Base64Url,
}

/// Padding or none; no stray bits.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl Encoding {
    /// Their names in the configuration.
    pub const NAMES: [&str; 3] = ["hex", "base64", "base64url"];

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            "base64url" => Some(Self::Base64Url),
            _ => None,
        }
    }

    /// The MAC that a text spells, which is of `length` bytes; else what shape the text has.
    pub(super) fn read(self, text: &[u8], length: usize) -> Result<Mac, &'static str> {
        if text.is_empty() {
            return Err("empty");
        }
        // Longer than any spelling of any MAC: not looked at.
        if text.len() > 2 * MAC_BYTES_MAX + 4 {
            return Err("too long for a signature");
        }
        let mut bytes = [0; 2 * MAC_BYTES_MAX];
        let read = match self {
            Self::Hex => return hex(text, length),
            Self::Base64 => BASE64.decode_slice(text, &mut bytes),
            Self::Base64Url => BASE64_URL.decode_slice(text, &mut bytes),
        };
        match read {
            Ok(count) if count == length => Ok(Mac::of(&bytes[..count])),
            Ok(_) if text.iter().all(u8::is_ascii_hexdigit) => Err("hexadecimal digits where base64 is expected"),
            Ok(count) if count < length => Err("base64 of too few bytes"),
            Ok(_) => Err("base64 of too many bytes"),
            Err(_) if text.iter().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(b)) => {
                Err("base64 of another alphabet, or cut off")
            }
            Err(_) => Err("no base64"),
        }
    }

    /// The spelling of a MAC, as services write it.
    pub(super) fn write(self, mac: &Mac) -> String {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        match self {
            Self::Hex => mac.bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            Self::Base64 => STANDARD.encode(mac.bytes()),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(mac.bytes()),
        }
    }
}

fn hex(text: &[u8], length: usize) -> Result<Mac, &'static str> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        let base64 = text.iter().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(b));
        return Err(if base64 { "base64 where hexadecimal digits are expected" } else { "no hexadecimal digits" });
    }
    if text.len() != 2 * length {
        return Err(if text.len() < 2 * length { "too few hexadecimal digits" } else { "too many hexadecimal digits" });
    }
    let digit = |b: u8| match b {
        b'0'..=b'9' => b - b'0',
        _ => (b | 0x20) - b'a' + 10,
    };
    let mut bytes = [0; MAC_BYTES_MAX];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0]) << 4) | digit(pair[1]);
    }
    Ok(Mac::of(&bytes[..length]))
}
