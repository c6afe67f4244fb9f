//! Numbers as patterns compare them: by value where a double holds it, else by their own digits.

/// The integers up to here are all doubles.
const EXACT_MAX: i128 = 1 << 53;

/// A number that can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// The double it is; zero has no sign.
    Double(f64),
    /// An integer that no double is.
    Wide(i128),
}

impl Eq for Number {}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Double(double) => double.to_bits().hash(state),
            Self::Wide(integer) => integer.hash(state),
        }
    }
}

impl Number {
    /// From JSON or YAML.
    #[must_use]
    pub fn of(number: &serde_json::Number) -> Self {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        match integer {
            Some(integer) => Self::integer(integer),
            // Adding zero takes the sign off a negative zero.
            None => Self::Double(number.as_f64().unwrap_or(f64::NAN) + 0.0),
        }
    }

    fn integer(integer: i128) -> Self {
        let double = integer as f64;
        let exact = integer.abs() <= EXACT_MAX || double.to_string().parse() == Ok(integer);
        if exact { Self::Double(double) } else { Self::Wide(integer) }
    }

    /// The double, where it is one.
    #[must_use]
    pub fn double(self) -> Option<f64> {
        match self {
            Self::Double(double) => Some(double),
            Self::Wide(_) => None,
        }
    }
}

/// A range of numbers; an open end is infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lower bound, and whether it is part of the range.
    pub low: Option<(f64, bool)>,
    /// The upper bound, and whether it is part of the range.
    pub high: Option<(f64, bool)>,
}

impl Eq for Range {}

impl std::hash::Hash for Range {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Adding zero takes the sign off a negative zero: the ends are equal then, and so must be their hashes.
        let end = |end: Option<(f64, bool)>| end.map(|(number, closed)| ((number + 0.0).to_bits(), closed));
        (end(self.low), end(self.high)).hash(state);
    }
}

impl Range {
    /// Whether a number lies in it.
    #[must_use]
    pub fn contains(&self, number: f64) -> bool {
        let above = self.low.is_none_or(|(low, closed)| number > low || (closed && number == low));
        let below = self.high.is_none_or(|(high, closed)| number < high || (closed && number == high));
        above && below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::of(&serde_json::from_str(text).expect("a number"))
    }

    #[test]
    fn numbers_are_equal_by_value_where_a_double_holds_them() {
        for (a, b) in [("5", "5.0"), ("5", "5e0"), ("-0", "0"), ("-0.0", "0"), ("9007199254740992", "9007199254740992.0")] {
            assert_eq!(number(a), number(b), "{a} and {b}");
        }
        assert_ne!(number("9007199254740993"), number("9007199254740992"));
        assert_eq!(number("9007199254740993"), number("9007199254740993"));
        assert_eq!(number("9007199254740993").double(), None);
    }

    #[test]
    fn ends_of_ranges_are_open_or_closed() {
        let range = Range { low: Some((0.0, false)), high: Some((5.0, true)) };
        assert!(!range.contains(0.0) && range.contains(0.1) && range.contains(5.0) && !range.contains(5.1));
        let open = Range { low: Some((3.0, true)), high: None };
        assert!(open.contains(3.0) && open.contains(1e300) && !open.contains(2.9));
    }
}
