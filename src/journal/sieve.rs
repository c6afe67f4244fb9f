//! Which tables of fingerprints may have one, asked before the tables are: to look into one costs several reads of memory that is
//! in no cache, and nearly all fingerprints are in none of them.
//!
//! A Bloom filter per table, laid side by side: each word has one bit per table, and the words of a fingerprint are in one cache
//! line. So one read says for all tables at once "surely not" or "perhaps".

/// As many tables as a word has bits.
pub(super) const TABLES_MAX: usize = Mask::BITS as usize;

/// Words per fingerprint of a full table: with [`PROBES`] of them set, about one in forty of those that a table does not
/// have is taken for one that it may have.
const WORDS_PER_KEY: usize = 8;

/// How many words of a line belong to a fingerprint.
const PROBES: u32 = 3;

/// Words in a cache line.
const LINE_WORDS: usize = 32;
const LINE_BITS: u32 = LINE_WORDS.trailing_zeros();

/// Where the bits of a fingerprint begin that choose words; those below are not kept by every table.
const WORDS_SHIFT: u32 = 27;

/// A set of tables.
pub(super) type Mask = u16;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([Mask; LINE_WORDS]);

/// The filter.
pub(super) struct Sieve {
    /// A power of two.
    lines: Vec<Line>,
    /// Tables in use.
    used: Mask,
}

impl Sieve {
    /// For tables of so many fingerprints.
    pub(super) fn new(table_keys: usize) -> Self {
        let lines = (table_keys * WORDS_PER_KEY / LINE_WORDS).next_power_of_two();
        Self { lines: vec![Line([0; LINE_WORDS]); lines], used: 0 }
    }

    /// The bit of a new table; nothing is in it. There is one as long as fewer than [`TABLES_MAX`] are in use.
    pub(super) fn table(&mut self) -> Mask {
        let free = !self.used & self.used.wrapping_add(1);
        self.used |= free;
        free
    }

    /// Empties tables; their bits are given to others.
    pub(super) fn drop_tables(&mut self, tables: Mask) {
        self.used &= !tables;
        self.clear(tables);
    }

    /// Empties tables that stay in use.
    pub(super) fn clear(&mut self, tables: Mask) {
        if tables != 0 {
            self.lines.iter_mut().flat_map(|line| &mut line.0).for_each(|word| *word &= !tables);
        }
    }

    /// Puts a fingerprint into a table.
    pub(super) fn add(&mut self, table: Mask, print: u64) {
        let at = self.line(print);
        for probe in 0..PROBES {
            self.lines[at].0[word(print, probe)] |= table;
        }
    }

    /// The tables that may have a fingerprint; all others have not.
    pub(super) fn tables(&self, print: u64) -> Mask {
        let line = &self.lines[self.line(print)].0;
        (0..PROBES).fold(Mask::MAX, |tables, probe| tables & line[word(print, probe)])
    }

    fn line(&self, print: u64) -> usize {
        // The uppermost bits, as many as number the lines.
        ((u128::from(print) * self.lines.len() as u128) >> 64) as usize
    }
}

fn word(print: u64, probe: u32) -> usize {
    (print >> (WORDS_SHIFT + probe * LINE_BITS)) as usize % LINE_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As different as hashes are.
    fn print(n: u64) -> u64 {
        let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn whatever_is_in_a_table_is_found_and_little_else() {
        const KEYS: u64 = 4_096;
        let mut sieve = Sieve::new(KEYS as usize);
        let tables: Vec<Mask> = (0..TABLES_MAX as u64).map(|_| sieve.table()).collect();
        for (at, table) in (0..).zip(&tables) {
            (0..KEYS).for_each(|n| sieve.add(*table, print(at * KEYS + n)));
        }
        for (at, table) in (0..).zip(&tables) {
            assert!((0..KEYS).all(|n| sieve.tables(print(at * KEYS + n)) & table != 0));
        }
        let others = 0x1000_0000..0x1000_0000 + KEYS;
        let hits: u32 = others.map(|n| sieve.tables(print(n)).count_ones()).sum();
        assert!(f64::from(hits) < 0.06 * KEYS as f64 * TABLES_MAX as f64, "{hits} of those that no table has");
    }

    #[test]
    fn a_table_that_was_dropped_leaves_nothing_to_the_next_one() {
        let mut sieve = Sieve::new(64);
        let tables: Vec<Mask> = (0..TABLES_MAX).map(|_| sieve.table()).collect();
        assert_eq!(tables.iter().fold(0, |all, table| all | table), Mask::MAX, "each has a bit of its own");
        assert_eq!(sieve.table(), 0, "none is left");
        tables.iter().for_each(|table| sieve.add(*table, 7));
        sieve.drop_tables(tables[3] | tables[9]);
        assert_eq!(sieve.tables(7), !(tables[3] | tables[9]));
        assert_eq!((sieve.table(), sieve.table(), sieve.table()), (tables[3], tables[9], 0));
        assert_eq!(sieve.tables(7), !(tables[3] | tables[9]), "they begin empty");
        sieve.clear(tables[0]);
        assert_eq!(sieve.tables(7) & tables[0], 0);
    }
}
