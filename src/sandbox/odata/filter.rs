//! `$filter`: read once against the columns, then asked about each row.

use std::cmp::Ordering;

use crate::sandbox::odata::parse::{Token, tokens};
use crate::sandbox::odata::{Cell, Columns, Kind, Row};
use crate::time::Timestamp;

/// The most comparisons in one filter, as documented.
const EXPRESSIONS_MAX: usize = 100;
/// How deep parentheses may go.
const DEPTH_MAX: usize = 50;

/// A checked filter.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sandbox) struct Filter(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare { column: &'static str, kind: Kind, op: Op, value: Literal },
    In { column: &'static str, kind: Kind, values: Vec<Literal> },
    Text { column: &'static str, test: Test, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Test {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Null,
    Int(i64),
    Text(String),
    Bool(bool),
    Time(Timestamp),
}

impl Filter {
    /// Reads a filter over `columns`. The error is Orchestrator's kind of sentence.
    pub(in crate::sandbox) fn parse(text: &str, columns: Columns) -> Result<Self, String> {
        let mut reader = Reader { tokens: tokens(text)?, at: 0, columns, expressions: 0, depth: 0 };
        let node = reader.any()?;
        if let Some(left) = reader.peek() {
            return Err(format!("syntax error: unexpected {left:?} in '{text}'"));
        }
        Ok(Self(node))
    }

    /// Whether the row passes.
    pub(in crate::sandbox) fn matches(&self, row: &impl Row) -> bool {
        self.0.matches(row)
    }

    /// The smallest whole number that `column` must have for any row to pass; spares a walk over what cannot match.
    pub(in crate::sandbox) fn at_least(&self, column: &str) -> Option<i64> {
        self.0.conjuncts().iter().filter_map(|node| node.lower_bound(column)).max()
    }

    /// The text that `column` must equal for any row to pass.
    pub(in crate::sandbox) fn equal_text(&self, column: &str) -> Option<&str> {
        self.0.conjuncts().iter().find_map(|node| match node {
            Node::Compare { column: name, op: Op::Eq, value: Literal::Text(text), .. } if *name == column => Some(text.as_str()),
            _ => None,
        })
    }

    /// The whole numbers that `column` must be among for any row to pass.
    pub(in crate::sandbox) fn among(&self, column: &str) -> Option<Vec<i64>> {
        let int = |value: &Literal| if let Literal::Int(int) = value { Some(*int) } else { None };
        self.0.conjuncts().iter().find_map(|node| match node {
            Node::Compare { column: name, op: Op::Eq, value, .. } if *name == column => int(value).map(|one| vec![one]),
            Node::In { column: name, values, .. } if *name == column => values.iter().map(int).collect(),
            _ => None,
        })
    }
}

impl Node {
    fn conjuncts(&self) -> Vec<&Self> {
        match self {
            Self::All(nodes) => nodes.iter().flat_map(Self::conjuncts).collect(),
            other => vec![other],
        }
    }

    fn lower_bound(&self, column: &str) -> Option<i64> {
        match self {
            Self::Compare { column: name, op, value: Literal::Int(int), .. } if *name == column => match op {
                Op::Gt => int.checked_add(1),
                Op::Ge | Op::Eq => Some(*int),
                _ => None,
            },
            _ => None,
        }
    }

    fn matches(&self, row: &impl Row) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(row)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(row)),
            Self::Not(node) => !node.matches(row),
            Self::Compare { column, kind, op, value } => op.holds(row.cell(column), *kind, value),
            Self::In { column, kind, values } => values.iter().any(|value| Op::Eq.holds(row.cell(column), *kind, value)),
            Self::Text { column, test, value } => matches!(row.cell(column), Cell::Text(text) if test.holds(&text.to_lowercase(), value)),
        }
    }
}

impl Op {
    fn holds(self, cell: Cell<'_>, kind: Kind, value: &Literal) -> bool {
        if matches!(cell, Cell::Null) || *value == Literal::Null {
            let same = matches!(cell, Cell::Null) && *value == Literal::Null;
            return match self {
                Self::Eq => same,
                Self::Ne => !same,
                _ => false,
            };
        }
        let Some(order) = compare(cell, kind, value) else { return self == Self::Ne };
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
        }
    }
}

impl Test {
    fn holds(self, text: &str, value: &str) -> bool {
        match self {
            Self::Contains => text.contains(value),
            Self::StartsWith => text.starts_with(value),
            Self::EndsWith => text.ends_with(value),
        }
    }
}

fn compare(cell: Cell<'_>, kind: Kind, value: &Literal) -> Option<Ordering> {
    match (cell, value) {
        (Cell::Int(left), Literal::Int(right)) => Some(left.cmp(right)),
        (Cell::Bool(left), Literal::Bool(right)) => Some(left.cmp(right)),
        (Cell::Time(left), Literal::Time(right)) => Some(left.cmp(right)),
        (Cell::Text(left), Literal::Time(right)) => Timestamp::parse_lenient(left).map(|left| left.cmp(right)),
        (Cell::Text(left), Literal::Text(right)) => match kind {
            Kind::Enum(names) => {
                let place = |name: &str| names.iter().position(|n| *n == name);
                place(left).zip(place(right)).map(|(left, right)| left.cmp(&right))
            }
            Kind::Guid if left.eq_ignore_ascii_case(right) => Some(Ordering::Equal),
            // The database compares text without regard to case, and so do its indexes.
            _ if left.eq_ignore_ascii_case(right) => Some(Ordering::Equal),
            _ => Some(left.cmp(right.as_str())),
        },
        _ => None,
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    columns: Columns,
    expressions: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, String> {
        let token = self.tokens.get(self.at).cloned().ok_or("syntax error: the filter ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Bare(bare)) if bare == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<(), String> {
        let found = self.next()?;
        if found == *token { Ok(()) } else { Err(format!("syntax error: expected {token:?}, found {found:?}")) }
    }

    fn any(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the filter is nested deeper than {DEPTH_MAX}"));
        }
        let mut nodes = vec![self.all()?];
        while self.keyword("or") {
            nodes.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.one()?];
        while self.keyword("and") {
            nodes.push(self.one()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn one(&mut self) -> Result<Node, String> {
        if self.keyword("not") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("the filter is nested deeper than {DEPTH_MAX}"));
            }
            let node = self.one()?;
            self.depth -= 1;
            return Ok(Node::Not(Box::new(node)));
        }
        if self.peek() == Some(&Token::Open) {
            self.next()?;
            let node = self.any()?;
            self.expect(&Token::Close)?;
            return Ok(node);
        }
        self.expressions += 1;
        if self.expressions > EXPRESSIONS_MAX {
            return Err(format!("the filter has more than {EXPRESSIONS_MAX} expressions"));
        }
        let Token::Bare(name) = self.next()? else { return Err("syntax error: expected a property name".to_owned()) };
        let test = match name.as_str() {
            "contains" => Some(Test::Contains),
            "startswith" => Some(Test::StartsWith),
            "endswith" => Some(Test::EndsWith),
            _ => None,
        };
        if let (Some(test), Some(Token::Open)) = (test, self.peek()) {
            return self.text(test);
        }
        let (column, kind) = self.column(&name)?;
        let Token::Bare(op) = self.next()? else { return Err(format!("syntax error: expected an operator after {name}")) };
        if op == "in" {
            return self.list(column, kind);
        }
        let op = match op.as_str() {
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            "lt" => Op::Lt,
            "le" => Op::Le,
            other => return Err(format!("syntax error: unknown operator '{other}'")),
        };
        let value = self.literal(column, kind)?;
        Ok(Node::Compare { column, kind, op, value })
    }

    fn text(&mut self, test: Test) -> Result<Node, String> {
        self.expect(&Token::Open)?;
        let lower = self.keyword("tolower");
        if lower {
            self.expect(&Token::Open)?;
        }
        let Token::Bare(name) = self.next()? else { return Err("syntax error: expected a property name".to_owned()) };
        let (column, kind) = self.column(&name)?;
        if !matches!(kind, Kind::Text) {
            return Err(format!("no function signature matches: {name} is no text"));
        }
        if lower {
            self.expect(&Token::Close)?;
        }
        self.expect(&Token::Comma)?;
        let Token::Quoted(value) = self.next()? else { return Err("syntax error: expected a text in quotes".to_owned()) };
        self.expect(&Token::Close)?;
        // The database compares text without regard to case.
        Ok(Node::Text { column, test, value: value.to_lowercase() })
    }

    fn list(&mut self, column: &'static str, kind: Kind) -> Result<Node, String> {
        self.expect(&Token::Open)?;
        let mut values = vec![self.literal(column, kind)?];
        loop {
            match self.next()? {
                Token::Comma => values.push(self.literal(column, kind)?),
                Token::Close => return Ok(Node::In { column, kind, values }),
                other => return Err(format!("syntax error: unexpected {other:?} in a list")),
            }
        }
    }

    fn column(&self, name: &str) -> Result<(&'static str, Kind), String> {
        self.columns.iter().find(|(column, _)| *column == name).copied().ok_or_else(|| format!("Could not find a property named '{name}'"))
    }

    fn literal(&mut self, column: &str, kind: Kind) -> Result<Literal, String> {
        let token = self.next()?;
        let wrong = || format!("a binary operator with incompatible types was detected at '{column}'");
        match (kind, token) {
            (_, Token::Bare(word)) if word == "null" => Ok(Literal::Null),
            (Kind::Int, Token::Bare(word)) => word.trim_end_matches(['L', 'l']).parse().map(Literal::Int).map_err(|_| wrong()),
            (Kind::Bool, Token::Bare(word)) => word.parse().map(Literal::Bool).map_err(|_| wrong()),
            (Kind::Time, Token::Bare(word)) => Timestamp::parse_lenient(&word).map(Literal::Time).ok_or_else(wrong),
            (Kind::Guid, Token::Bare(word) | Token::Quoted(word)) => Ok(Literal::Text(word)),
            (Kind::Text, Token::Quoted(word)) => Ok(Literal::Text(word)),
            (Kind::Enum(names), Token::Bare(word) | Token::Quoted(word)) => names
                .iter()
                .find(|name| **name == word)
                .or_else(|| word.parse::<usize>().ok().and_then(|at| names.get(at)))
                .map(|name| Literal::Text((*name).to_owned()))
                .ok_or_else(|| format!("the string '{word}' is not a valid enumeration type constant")),
            _ => Err(wrong()),
        }
    }
}
