//! What is filed at one path, and what a value found there leads to.

use std::borrow::Borrow;
use std::hash::Hash;
use std::net::IpAddr;

use super::access::Access;
use super::lists::{BranchId, Lists, PartitionId};
use super::ranges::Ranges;
use super::{Candidates, Table};
use crate::event::{Json, View};
use crate::rules::pattern::{Number, Test, fold, parse_address};

/// The branches filed at one path.
#[derive(Debug, Default)]
pub(super) struct Probes {
    texts: Table<Box<str>, Lists>,
    numbers: Table<Number, Lists>,
    bools: [Lists; 2],
    null: Lists,
    addresses: Table<IpAddr, Lists>,
    blocks: Lists,
    has_blocks: bool,
    folded: Table<Box<str>, Lists>,
    /// By length in bytes, shortest first.
    prefixes: Vec<(usize, Table<Box<str>, Lists>)>,
    suffixes: Vec<(usize, Table<Box<str>, Lists>)>,
    folded_prefixes: Vec<(usize, Table<Box<str>, Lists>)>,
    folded_suffixes: Vec<(usize, Table<Box<str>, Lists>)>,
    ranges: Ranges,
    /// Asked by every value.
    path: Lists,
}

impl Probes {
    pub(super) fn file(&mut self, access: &Access, test: &Test, part: PartitionId, branch: BranchId) {
        let lists = match access {
            Access::Text(text) => self.texts.entry(text.clone()).or_default(),
            Access::Number(number) => self.numbers.entry(*number).or_default(),
            Access::Bool(b) => &mut self.bools[usize::from(*b)],
            Access::Null => &mut self.null,
            Access::Address(address) => self.addresses.entry(*address).or_default(),
            Access::Folded(text) => self.folded.entry(text.clone()).or_default(),
            Access::Prefix(text) => by_length(&mut self.prefixes, text),
            Access::Suffix(text) => by_length(&mut self.suffixes, text),
            Access::FoldedPrefix(text) => by_length(&mut self.folded_prefixes, text),
            Access::FoldedSuffix(text) => by_length(&mut self.folded_suffixes, text),
            Access::Range => {
                if let Test::Range(range) = test {
                    self.ranges.push(*range, part, branch);
                }
                return;
            }
            Access::Block => {
                self.has_blocks = true;
                &mut self.blocks
            }
            Access::Path => &mut self.path,
        };
        lists.push(part, branch);
    }

    /// Must be called once everything is filed.
    pub(super) fn finish(&mut self) {
        self.ranges.finish();
    }

    /// The branches that a value leads to.
    pub(super) fn collect(&self, value: &impl Json, active: &[PartitionId], out: &mut Candidates) {
        self.path.collect(active, out);
        match value.view() {
            View::Null => self.null.collect(active, out),
            View::Bool(b) => self.bools[usize::from(b)].collect(active, out),
            View::Number(number) => {
                let number = Number::of(number);
                probe(&self.numbers, &number, active, out);
                if let Some(double) = number.double() {
                    self.ranges.collect(double, active, out);
                }
            }
            View::Text(text) => self.collect_text(text, active, out),
            View::List(_) | View::Object => {}
        }
    }

    fn collect_text(&self, text: &str, active: &[PartitionId], out: &mut Candidates) {
        probe(&self.texts, text, active, out);
        if (!self.addresses.is_empty() || self.has_blocks)
            && let Some(address) = parse_address(text)
        {
            probe(&self.addresses, &address, active, out);
            self.blocks.collect(active, out);
        }
        heads(&self.prefixes, text, active, out);
        tails(&self.suffixes, text, active, out);
        if !(self.folded.is_empty() && self.folded_prefixes.is_empty() && self.folded_suffixes.is_empty()) {
            let folded = fold(text);
            probe(&self.folded, folded.as_str(), active, out);
            heads(&self.folded_prefixes, &folded, active, out);
            tails(&self.folded_suffixes, &folded, active, out);
        }
    }
}

fn by_length<'t>(tables: &'t mut Vec<(usize, Table<Box<str>, Lists>)>, text: &str) -> &'t mut Lists {
    let at = match tables.binary_search_by_key(&text.len(), |(length, _)| *length) {
        Ok(at) => at,
        Err(at) => {
            tables.insert(at, (text.len(), Table::default()));
            at
        }
    };
    tables[at].1.entry(text.into()).or_default()
}

fn probe<K, Q>(table: &Table<K, Lists>, key: &Q, active: &[PartitionId], out: &mut Candidates)
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if !table.is_empty()
        && let Some(lists) = table.get(key)
    {
        lists.collect(active, out);
    }
}

fn heads(tables: &[(usize, Table<Box<str>, Lists>)], text: &str, active: &[PartitionId], out: &mut Candidates) {
    for (length, table) in tables.iter().take_while(|(length, _)| *length <= text.len()) {
        if let Some(head) = text.get(..*length) {
            probe(table, head, active, out);
        }
    }
}

fn tails(tables: &[(usize, Table<Box<str>, Lists>)], text: &str, active: &[PartitionId], out: &mut Candidates) {
    for (length, table) in tables.iter().take_while(|(length, _)| *length <= text.len()) {
        if let Some(tail) = text.get(text.len() - length..) {
            probe(table, tail, active, out);
        }
    }
}
