//! The headers of a delivery, as decisions see them: values by the header's name in lower case. Knows nothing of HTTP.

/// What there is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'h> {
    /// Nothing, or nothing but white space.
    Missing,
    /// One value, without white space around it.
    One(&'h [u8]),
    /// More than one value: which of them counts is nobody's guess.
    Several,
}

impl<'h> Found<'h> {
    /// From all the values under a name.
    #[must_use]
    pub fn of(mut values: impl Iterator<Item = &'h [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(_), Some(_)) => Self::Several,
            (Some(value), None) => match value.trim_ascii() {
                b"" => Self::Missing,
                value => Self::One(value),
            },
        }
    }
}

/// Where the headers of one delivery are found.
pub trait Headers {
    /// What there is under this name, which is written in lower case.
    fn find(&self, name: &str) -> Found<'_>;

    /// The one value under this name, where it is text.
    fn text(&self, name: &str) -> Option<&str> {
        match self.find(name) {
            Found::One(value) => std::str::from_utf8(value).ok(),
            Found::Missing | Found::Several => None,
        }
    }
}

/// Headers that somebody wrote down: names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderList(pub Vec<(String, String)>);

impl HeaderList {
    /// A list of these; names in any case.
    #[must_use]
    pub fn of(headers: &[(&str, &str)]) -> Self {
        Self(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

impl Headers for HeaderList {
    fn find(&self, name: &str) -> Found<'_> {
        Found::of(self.0.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes()))
    }
}

/// Whether `name` may name a header (RFC 9110: a token), at most 128 bytes.
#[must_use]
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_told_from_none_and_from_several() {
        let headers = HeaderList::of(&[("X-One", " a "), ("x-two", "a"), ("X-Two", "b"), ("X-Blank", "  ")]);
        assert_eq!(headers.find("x-one"), Found::One(b"a"));
        assert_eq!(headers.text("x-one"), Some("a"));
        assert_eq!(headers.find("x-two"), Found::Several);
        assert_eq!(headers.find("x-blank"), Found::Missing);
        assert_eq!(headers.find("x-three"), Found::Missing);
        assert!(is_header_name("X-Hub-Signature-256") && !is_header_name("x y") && !is_header_name("") && !is_header_name("x:"));
    }
}
