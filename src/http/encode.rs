//! How values stand in URLs and forms.

/// Percent-encoded whole: only unreserved characters stand. Space is `%20` and a quote `%27`, as strict servers want it.
#[must_use]
pub fn percent(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// A form body; also the query of a URL.
#[must_use]
pub fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stand_as_they_are() {
        assert_eq!(percent("a-._~Z0%% +\r\n"), "a-._~Z0%25%25%20%2B%0D%0A");
        assert_eq!(form(&[("a", "b c"), ("d[]", "é&=")]), "a=b%20c&d%5B%5D=%C3%A9%26%3D");
    }
}
