//! Fuzzed input that is near something meaningful: raw bytes alone rarely get past the first look of a parser.

/// Edits made to one seed.
const EDITS_MAX: usize = 64;

/// Bytes that mean something to one parser or another.
const TOKENS: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"0x10",
    b"9223372036854775808",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"\n",
    b"\t",
    b"  ",
    b"${",
    b"$${",
    b"}",
    b"*",
    b"&a ",
    b"*a",
    b"!tag ",
    b"---\n",
    b"# ",
    b"'",
    b"|\n",
    b"? ",
    b"==",
    b"&&",
    b"||",
    b"(",
    b")",
    b".",
    b",",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"\0",
    b"0001-01-01T00:00:00Z",
    b"$or",
    b"anything-but",
    b"numeric",
    b"sha256=",
    b"=",
    b"-_",
    b"+/",
];

/// One of the seeds with edits that `input` spells, or, for a quarter of all inputs, the rest of `input` itself.
pub(crate) fn near(seeds: &[&[u8]], input: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = input.split_first() else { return Vec::new() };
    if seeds.is_empty() || first % 4 == 0 {
        return rest.to_vec();
    }
    let mut bytes = seeds[usize::from(first / 4) % seeds.len()].to_vec();
    for edit in rest.chunks_exact(4).take(EDITS_MAX) {
        let at = (usize::from(edit[1]) << 8 | usize::from(edit[2])) % (bytes.len() + 1);
        let end = bytes.len().min(at + usize::from(edit[3] % 32) + 1);
        match edit[0] % 6 {
            0 => bytes.insert(at, edit[3]),
            1 if at < bytes.len() => bytes[at] = edit[3],
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(end..end, copy));
            }
            4 => {
                let token = TOKENS[usize::from(edit[3]) % TOKENS.len()];
                drop(bytes.splice(at..at, token.iter().copied()));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// The same for texts; what is no UTF-8 becomes a replacement character.
pub(crate) fn near_text(seeds: &[&str], input: &[u8]) -> String {
    let seeds: Vec<&[u8]> = seeds.iter().map(|seed| seed.as_bytes()).collect();
    String::from_utf8_lossy(&near(&seeds, input)).into_owned()
}
