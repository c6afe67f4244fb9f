//! Strings as patterns compare them: without regard to case, and with wildcards.

/// A text compared without regard to case: every character may come in its lower or its upper form, which may be
/// several characters (`ß` is `SS`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyCase {
    forms: Vec<(Box<str>, Box<str>)>,
    folded: Box<str>,
}

impl AnyCase {
    /// Of the text in the pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let form = |c: char| (c.to_lowercase().collect::<String>().into_boxed_str(), c.to_uppercase().collect::<String>().into_boxed_str());
        Self { forms: text.chars().map(form).collect(), folded: fold(text).into_boxed_str() }
    }

    /// Its folded form: two texts that are equal but for case fold to the same.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether it is the whole of `value`.
    #[must_use]
    pub fn is(&self, value: &str) -> bool {
        self.begin_of(value) == Some(value.len())
    }

    /// Whether `value` begins with it.
    #[must_use]
    pub fn begins(&self, value: &str) -> bool {
        self.begin_of(value).is_some()
    }

    /// Whether `value` ends with it.
    #[must_use]
    pub fn ends(&self, value: &str) -> bool {
        let end = self
            .forms
            .iter()
            .rev()
            .try_fold(value, |rest, (lower, upper)| rest.strip_suffix(&**lower).or_else(|| rest.strip_suffix(&**upper)));
        end.is_some()
    }

    fn begin_of(&self, value: &str) -> Option<usize> {
        let rest = self
            .forms
            .iter()
            .try_fold(value, |rest, (lower, upper)| rest.strip_prefix(&**lower).or_else(|| rest.strip_prefix(&**upper)))?;
        Some(value.len() - rest.len())
    }
}

/// One form for all the cases of a text.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// A text in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wildcard {
    /// The texts between the stars: one more than there are stars.
    parts: Vec<Box<str>>,
}

impl Wildcard {
    /// Reads `*`, `\*` and `\\`.
    ///
    /// # Errors
    /// Two stars in a row, or another escape.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.peek() == Some(&'*') => return Err("two `*` in a row mean the same as one; write one".to_owned()),
                '*' => parts.push(String::new()),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => push(&mut parts, escaped),
                    Some(other) => return Err(format!("`\\{other}` is no escape; only `\\*` and `\\\\` are")),
                    None => return Err("a single `\\` at the end; write `\\\\` for a backslash".to_owned()),
                },
                other => push(&mut parts, other),
            }
        }
        Ok(Self { parts: parts.into_iter().map(String::into_boxed_str).collect() })
    }

    /// Whether the whole of `value` fits.
    #[must_use]
    pub fn fits(&self, value: &str) -> bool {
        let [head, middle @ .., tail] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| **only == *value);
        };
        let Some(rest) = value.strip_prefix(&**head).and_then(|rest| rest.strip_suffix(&**tail)) else { return false };
        let fit = middle.iter().try_fold(rest, |rest, part| rest.find(&**part).map(|at| &rest[at + part.len()..]));
        fit.is_some()
    }

    /// What a fitting text begins with.
    #[must_use]
    pub fn head(&self) -> &str {
        self.parts.first().map_or("", |part| part)
    }

    /// What a fitting text ends with.
    #[must_use]
    pub fn tail(&self) -> &str {
        self.parts.last().map_or("", |part| part)
    }

    /// Whether it has no star at all.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parts.len() == 1
    }
}

fn push(parts: &mut [String], c: char) {
    if let Some(last) = parts.last_mut() {
        last.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_is_told_by_characters_that_may_become_several() {
        let street = AnyCase::new("Straße");
        for same in ["Straße", "STRASSE", "straße", "STRAßE"] {
            assert!(street.is(same), "{same}");
            assert_eq!(fold(same), street.folded(), "{same}");
        }
        assert!(!street.is("Strase") && !street.is("Straße "));
        assert!(AnyCase::new("Ab").begins("aBc") && !AnyCase::new("Ab").begins("xab"));
        assert!(AnyCase::new(".TMP").ends("file.tmp"));
        assert!(AnyCase::new("").is("") && AnyCase::new("").begins("x"));
    }

    #[test]
    fn no_character_has_a_form_that_begins_or_ends_the_other() {
        let cased = |c: &char| !c.to_lowercase().eq([*c]) || !c.to_uppercase().eq([*c]);
        for c in ('\0'..=char::MAX).filter(cased) {
            let (lower, upper) = (c.to_lowercase().collect::<String>(), c.to_uppercase().collect::<String>());
            if lower != upper {
                assert!(!lower.starts_with(&upper) && !upper.starts_with(&lower), "{c}");
                assert!(!lower.ends_with(&upper) && !upper.ends_with(&lower), "{c}");
            }
            assert_eq!(fold(&lower), fold(&upper), "{c}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        let fits = |pattern: &str, value: &str| Wildcard::parse(pattern).expect(pattern).fits(value);
        for (pattern, value, fit) in [
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*x*", "ab", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\*", r"a\b", true),
            ("*ab*ab", "ab", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(fits(pattern, value), fit, "{pattern} on {value}");
        }
        for bad in ["a**b", r"a\xb", "a\\"] {
            assert!(Wildcard::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn wildcards_fit_as_the_plain_definition_says(pattern in "[ab*]{0,6}", value in "[ab]{0,8}") {
            fn plain(pattern: &[u8], value: &[u8]) -> bool {
                match pattern.split_first() {
                    None => value.is_empty(),
                    Some((b'*', rest)) => (0..=value.len()).any(|at| plain(rest, &value[at..])),
                    Some((c, rest)) => value.first() == Some(c) && plain(rest, &value[1..]),
                }
            }
            if let Ok(wildcard) = Wildcard::parse(&pattern) {
                prop_assert_eq!(wildcard.fits(&value), plain(pattern.as_bytes(), value.as_bytes()));
            }
        }
    }
}
